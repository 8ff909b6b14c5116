"""Edits of a fleet and its droplets, such as an owner makes and such as somebody makes by hand.

`ROUNDS` has them as they are made: a few at a time, each where it can be told from the others, since every
run of the whole deploy takes its time.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab.conftest import BIN, Workplace

Changes = set[tuple[str, str]]  # (droplet, operation)


@dataclass
class Edit:
    """One edit, and which operations are its own: those on `droplets` whose names have one of `words`."""

    title: str
    make: Callable[[Workplace], object]
    droplets: str  # names, with spaces between; "*" for all
    words: tuple[str, ...]

    def own(self, changes: Changes) -> Changes:
        return {
            (droplet, operation)
            for droplet, operation in changes
            if (self.droplets == "*" or droplet in self.droplets.split())
            and any(word in operation for word in self.words)
        }


def role(name: str, **values: object) -> Callable[[Workplace], None]:
    """Set values of roles/NAME.yml; `a__b=1` is a: {b: 1}, None takes a key out."""

    def edit(place: Workplace) -> None:
        path = place.directory / f"roles/{name}.yml"
        data = yaml.safe_load(path.read_text())
        for key, value in values.items():
            at, *rest = key.split("__")
            inside = data
            while rest:
                inside = inside.setdefault(at, {})
                at, *rest = rest
            if value is None:
                inside.pop(at, None)
            else:
                inside[at] = value
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    return edit


def template(path: str, old: str, new: str) -> Callable[[Workplace], None]:
    def edit(place: Workplace) -> None:
        file = place.directory / "templates" / path
        text = file.read_text()
        assert old in text, (path, old)
        file.write_text(text.replace(old, new, 1))

    return edit


@dataclass
class ByHand:
    """What somebody does on a droplet, as root."""

    droplet: str
    command: str

    def __call__(self, place: Workplace) -> None:
        place.ssh(self.droplet, self.command)


def make(place: Workplace, edits: Iterable[Edit]) -> None:
    """Make all edits; those by hand on the droplets at once."""
    commands: dict[str, list[str]] = {}
    for edit in edits:
        if isinstance(edit.make, ByHand):
            commands.setdefault(edit.make.droplet, []).append(edit.make.command)
        else:
            edit.make(place)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: place.ssh(one[0], "set -e\n" + "\n".join(one[1])), commands.items()))


def secret(inventory: str, name: str, text: str) -> Callable[[Workplace], None]:
    def edit(place: Workplace) -> None:
        environment = {**os.environ, "SMALLFLEET_LAB": place.lab}
        subprocess.run(
            [str(BIN / "fleet"), "secrets", "set", inventory, name],
            cwd=place.directory,
            env=environment,
            input=text + "\n",
            text=True,
            check=True,
            capture_output=True,
        )

    return edit


def commit(place: Workplace, app: str) -> None:
    """A new commit on main in the lab's git repository of an app: an empty one."""
    repository = Path(f"/var/lib/smallfleet/labs/{place.lab}/git/{app}.git")
    git = ["git", f"--git-dir={repository}", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    tree = _said([*git, "rev-parse", "main^{tree}"])
    made = _said([*git, "commit-tree", tree, "-p", "main", "-m", "An empty change"])
    _said([*git, "update-ref", "refs/heads/main", made])


def _said(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def predicted(place: Workplace, inventory: str, *words: str) -> Changes:
    done = place.run("fleet", "plan", inventory, "deploys/site.py", "--format", "json", *words)
    plan = json.loads(done.stdout)
    return {(droplet["name"], op["name"]) for droplet in plan["droplets"] for op in droplet["operations"]}


def done(place: Workplace, inventory: str, *words: str) -> Changes:
    changed = place.deploy(inventory, "deploys/site.py", *words)
    return {(droplet, operation) for droplet, operations in changed.items() for operation in operations}


def table(rows: Iterable[tuple[str, int, int]]) -> str:
    lines = ["| # | edit | predicted | done |", "|---:|---|---:|---:|"]
    lines += [f"| {n} | {title} | {a} | {b} |" for n, (title, a, b) in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"


FLEET = {"web1": ["podcast"], "mongo": ["mongodb"]}
WITH_API = {"web1": ["podcast"], "web2": ["api"], "mongo": ["mongodb"]}
INVENTORY = "inventory/edits.py"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQX7hZ6wE8nXvT5o1t7nVYQz0m0m0m0m0m0m0m0m0m0 stranger"


def add_api(place: Workplace) -> None:
    place.write_inventory("edits", WITH_API)


NGINX = "nginx.conf and a vhost"
USERS = "Make MongoDB's users"
RESTART = ("Restart MongoDB",)
UV = "nstall uv"
ROUNDS = [
    [
        Edit("inventory: a droplet web2 with the role api, created and provisioned", add_api, "web2", ("",)),
        Edit("… whose app becomes a user of MongoDB", lambda p: None, "mongo", (USERS,)),
        Edit("by hand: mongod stopped", ByHand("mongo", "systemctl stop mongod"), "mongo", ("Run MongoDB",)),
        Edit("role: podcast's rate limit", role("podcast", nginx__rate__burst=77), "web1", (NGINX,)),
        Edit("role: the journal's size", role("base", journald__max_use="150M"), "web1 mongo", ("journal",)),
        Edit(
            "by hand: the app's uWSGI configuration edited",
            ByHand("web1", "echo '# mine' >> /etc/uwsgi/podcast.ini"),
            "web1",
            ("uWSGI: configuration",),
        ),
        Edit(
            "by hand: the directory of releases given away",
            ByHand("web1", "chown podcast /srv/podcast/releases"),
            "web1",
            ("directory of releases",),
        ),
        Edit(
            "by hand: the link to uv removed",
            ByHand("mongo", "rm /usr/local/bin/uv"),
            "mongo",
            (UV,),
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
            ByHand("web1", "systemctl disable --now certbot.timer"),
            "web1",
            ("certificates are renewed",),
        ),
    ],
    [
        Edit(
            "by hand: a stray vhost",
            ByHand("web1", "echo 'server { listen 81; }' > /etc/nginx/sites/stray.conf"),
            "web1",
            (NGINX,),
        ),
        Edit("by hand: NGINX stopped", ByHand("web2", "systemctl stop nginx"), "web2", ("NGINX runs",)),
        Edit(
            "by hand: mongod.conf edited",
            ByHand("mongo", "echo '# mine' >> /etc/mongod.conf"),
            "mongo",
            ("Configure MongoDB", *RESTART),
        ),
        Edit("by hand: a package held back", ByHand("web1", "apt-mark hold nginx"), "web1", ("Hold no",)),
        Edit(
            "by hand: a firewall rule added",
            ByHand("web2", "nft add rule inet smallfleet input tcp dport 8080 accept"),
            "web2",
            ("Filter by",),
        ),
        Edit(
            "by hand: a table of the firewall added",
            ByHand("web1", "nft add table ip mine"),
            "web1",
            ("Filter by",),
        ),
        Edit(
            "by hand: a user added",
            ByHand("mongo", "useradd -m -s /bin/bash mallory"),
            "mongo",
            ("nobody else log in",),
        ),
        Edit(
            "by hand: the sudoers file changed",
            ByHand("web1", "echo 'mallory ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers.d/smallfleet"),
            "web1",
            ("who may become root",),
        ),
        Edit(
            "by hand: a drop-in for NGINX's unit",
            ByHand(
                "web2",
                "mkdir -p /etc/systemd/system/nginx.service.d && "
                "printf '[Service]\\nNice=5\\n' > /etc/systemd/system/nginx.service.d/override.conf",
            ),
            "web2",
            ("drop-ins",),
        ),
        Edit(
            "by hand: a key added to a person's",
            ByHand("web2", f"echo '{KEY}' >> /home/ada/.ssh/authorized_keys"),
            "web2",
            ("the user ada",),
        ),
        Edit("by hand: a file's mode", ByHand("web1", "chmod 600 /etc/uv/uv.toml"), "web1", (UV,)),
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
            ByHand("web2", "apt-get remove -qq -y certbot >/dev/null"),
            "web2",
            ("install certbot",),
        ),
        Edit(
            "by hand: Debian's default site linked again",
            ByHand("web1", "ln -s ../sites-available/default /etc/nginx/sites-enabled/default"),
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
