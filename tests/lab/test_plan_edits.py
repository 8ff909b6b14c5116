"""What a plan predicts is what the next run does: for edits of every kind, on real droplets.

The edits are made a few at a time, each where it can be told from the others, since every run of the whole
deploy takes its time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Workplace, workplace
from tests.lab.edits import Edit, by_hand, commit, done, predicted, role, secret, table, template

FLEET = {"web1": ["podcast"], "mongo": ["mongodb"]}
WITH_API = {"web1": ["podcast"], "web2": ["api"], "mongo": ["mongodb"]}
INVENTORY = "inventory/edits.py"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQX7hZ6wE8nXvT5o1t7nVYQz0m0m0m0m0m0m0m0m0m0 stranger"


def add_api(place: Workplace) -> None:
    place.write_inventory("edits", WITH_API)


NGINX = "nginx.conf and a vhost"
USERS = "Make MongoDB's users"
RESTART = ("Restart MongoDB",)
TRUST = "Let uv trust"
ROUNDS = [
    [
        Edit("inventory: a droplet web2 with the role api, created and provisioned", add_api, "web2", ("",)),
        Edit(
            "… whose app gets a user of MongoDB, which was stopped by hand", lambda p: None, "mongo", (USERS,)
        ),
        Edit("by hand: mongod stopped", by_hand("mongo", "systemctl stop mongod"), "mongo", ("Run MongoDB",)),
        Edit("role: podcast's rate limit", role("podcast", nginx__rate__burst=77), "web1", (NGINX,)),
        Edit("role: the journal's size", role("base", journald__max_use="150M"), "web1 mongo", ("journal",)),
        Edit(
            "by hand: the app's uWSGI configuration edited",
            by_hand("web1", "echo '# mine' >> /etc/uwsgi/podcast.ini"),
            "web1",
            ("uWSGI: configuration",),
        ),
        Edit(
            "by hand: the directory of releases given away",
            by_hand("web1", "chown podcast /srv/podcast/releases"),
            "web1",
            ("directory of releases",),
        ),
        Edit(
            "by hand: the link to uv removed",
            by_hand("mongo", "rm /usr/local/bin/uv"),
            "mongo",
            ("uv on the path",),
        ),
    ],
    [
        Edit(
            "role: podcast's processes",
            role("podcast", uwsgi__processes=3),
            "web1",
            ("uWSGI: configuration", "release"),
        ),
        Edit(
            "role: a variable of api's environment",
            role("api", app__environment={"GREETING": "hello"}),
            "web2",
            ("its environment", "release"),
        ),
        Edit(
            "role: MongoDB's cache", role("mongodb", cache="300M"), "mongo", ("Configure MongoDB", *RESTART)
        ),
        Edit(
            "template: a line of nginx.conf, on all web droplets",
            template("nginx/nginx.conf.j2", "http {", "# edited\nhttp {"),
            "web1 web2",
            (NGINX,),
        ),
        Edit(
            "role: a person",
            role("base", users=[{"name": "ada", "sudo": True}]),
            "*",
            ("the user ada", "who may become root"),
        ),
        Edit("role: the time zone", role("base", timezone="Europe/Amsterdam"), "*", ("time zone",)),
        Edit("role: sshd's tries", role("base", ssh__max_auth_tries=5), "*", ("by key only",)),
        Edit(
            "role: no unattended upgrades",
            role("base", unattended_upgrades__enabled=False),
            "*",
            ("updates daily",),
        ),
        Edit(
            "by hand: certbot's timer stopped and disabled",
            by_hand("web1", "systemctl disable --now certbot.timer"),
            "web1",
            ("certificates are renewed",),
        ),
    ],
    [
        Edit(
            "by hand: a stray vhost",
            by_hand("web1", "echo 'server { listen 81; }' > /etc/nginx/sites/stray.conf"),
            "web1",
            (NGINX,),
        ),
        Edit("by hand: NGINX stopped", by_hand("web2", "systemctl stop nginx"), "web2", ("NGINX runs",)),
        Edit(
            "by hand: mongod.conf edited",
            by_hand("mongo", "echo '# mine' >> /etc/mongod.conf"),
            "mongo",
            ("Configure MongoDB", *RESTART),
        ),
        Edit("by hand: a package held back", by_hand("web1", "apt-mark hold nginx"), "web1", ("Hold no",)),
        Edit(
            "by hand: a firewall rule added",
            by_hand("web2", "nft add rule inet smallfleet input tcp dport 8080 accept"),
            "web2",
            ("Filter by",),
        ),
        Edit(
            "by hand: a table of the firewall added",
            by_hand("web1", "nft add table ip mine"),
            "web1",
            ("Filter by",),
        ),
        Edit(
            "by hand: a user added",
            by_hand("mongo", "useradd -m -s /bin/bash mallory"),
            "mongo",
            ("nobody else log in",),
        ),
        Edit(
            "by hand: the sudoers file changed",
            by_hand("web1", "echo 'mallory ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers.d/smallfleet"),
            "web1",
            ("who may become root",),
        ),
        Edit(
            "by hand: a drop-in for NGINX's unit",
            by_hand(
                "web2",
                "mkdir -p /etc/systemd/system/nginx.service.d && "
                "printf '[Service]\\nNice=5\\n' > /etc/systemd/system/nginx.service.d/override.conf",
            ),
            "web2",
            ("drop-ins",),
        ),
        Edit(
            "by hand: a key added to a person's",
            by_hand("web2", f"echo '{KEY}' >> /home/ada/.ssh/authorized_keys"),
            "web2",
            ("the user ada",),
        ),
        Edit("by hand: a file's mode", by_hand("web1", "chmod 600 /etc/uv/uv.toml"), "web1", (TRUST,)),
        Edit(
            "git: a new commit on podcast's branch", lambda p: commit(p, "podcast"), "web1", ("app: release",)
        ),
    ],
    [
        Edit(
            "role: another alias, in the vhost and the certificate",
            role("podcast", aliases=["www.podcast.{domain}", "cast.{domain}"]),
            "web1",
            (NGINX, "a certificate for each site"),
        ),
        Edit(
            "role: releases kept, which makes no new release",
            role("podcast", app__keep=4),
            "web1",
            ("what to release",),
        ),
        Edit(
            "role: no setup for api, which makes a new release",
            role("api", app__setup=None),
            "web2",
            ("what to release", "app: release"),
        ),
        Edit("role: api's largest body", role("api", nginx__max_body="2M"), "web2", (NGINX,)),
        Edit(
            "template: mongod's drop-in",
            template("systemd/mongod.conf.j2", "[Unit]", "# edited\n[Unit]"),
            "mongo",
            ("when its address", *RESTART),
        ),
        Edit(
            "role: a person taken out",
            role("base", users=[]),
            "*",
            ("who may become root", "nobody else log in"),
        ),
        Edit(
            "template: sshd's configuration",
            template("ssh/smallfleet.conf.j2", "\n", "\n# edited\n"),
            "*",
            ("by key only",),
        ),
        Edit(
            "by hand: certbot removed",
            by_hand("web2", "apt-get remove -qq -y certbot >/dev/null"),
            "web2",
            ("install certbot", "certificates are renewed"),
        ),
        Edit(
            "by hand: Debian's default site linked again",
            by_hand("web1", "ln -s ../sites-available/default /etc/nginx/sites-enabled/default"),
            "web1",
            ("no site of the package's own",),
        ),
        Edit(
            "secret: podcast's password for MongoDB",
            secret(INVENTORY, "mongodb/podcast", "canary-mongodb-podcast"),
            "web1 mongo",
            (USERS, "its environment", "app: release"),
        ),
    ],
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("edits")) as place:
        place.write_inventory("edits", FLEET)
        place.deploy(INVENTORY, "deploys/site.py")
        yield place


def check_round(place: Workplace, edits: list[Edit]) -> list[tuple[str, int, int]]:
    for edit in edits:
        edit.make(place)
    before = predicted(place, INVENTORY)
    after = done(place, INVENTORY)
    assert before - after == set(), "predicted, but not done"
    assert after - before == set(), "done, but not predicted"
    for edit in edits:
        assert edit.own(before), f"{edit.title}: nothing was predicted"
    of_nobody = before - {change for edit in edits for change in edit.own(before)}
    assert not of_nobody, "predicted and done, but for none of the edits"
    return [(edit.title, len(edit.own(before)), len(edit.own(after))) for edit in edits]


def test_a_plan_predicts_what_the_next_run_does(place: Workplace) -> None:
    rows = [row for edits in ROUNDS for row in check_round(place, edits)]
    assert len(rows) >= 30
    print("\n" + table(rows))
    if path := os.environ.get("SMALLFLEET_EDITS_TABLE"):
        Path(path).write_text(table(rows))
    end = place.run("fleet", "plan", INVENTORY, "--exit-code", check=False)
    assert end.returncode == 0, end.stdout
