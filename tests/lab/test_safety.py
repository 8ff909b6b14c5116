"""A bad configuration never goes live, and what lies on the disk survives a reboot: on a real droplet."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import INSTALLED, Workplace, eventually, workplace
from tests.lab.faults import Cost, outage, record, timed, told
from tests.lab.visitors import Crowd, Visit
from tests.lab.visitors import Site as Visited

NGINX, SITE = "templates/nginx/nginx.conf.j2", "templates/nginx/site.conf.j2"
UWSGI = "unix:/run/{{ site.name }}/uwsgi.sock"
CERTIFICATE = "/etc/nginx/tls/{{ site.domain }}/fullchain.pem"
KEY = "/etc/nginx/tls/{{ site.domain }}/privkey.pem"
STATIC = '/srv/{{ site.name }}/current/{{ directory.rstrip("/") }}/'
SSH, SUDO = "templates/ssh/smallfleet.conf.j2", "templates/ssh/sudoers.j2"
NFTABLES, MONGOD = "templates/nftables/nftables.conf.j2", "templates/mongodb/mongod.conf.j2"
UNIT = "templates/systemd/app@.service.j2"


class Site:
    """One droplet with a site and its database."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.inventory = place.write_inventory("site", {"web1": ["podcast", "mongodb"]})
        self.address = ""

    @contextlib.contextmanager
    def edited(self, *edits: tuple[str, str, str]) -> Iterator[None]:
        """The owner's files with (file, old, new), and as they were afterwards."""
        kept = {file: (self.place.directory / file).read_text() for file, _, _ in edits}
        try:
            for file, old, new in edits:
                path = self.place.directory / file
                assert old in path.read_text(), (file, old)
                path.write_text(path.read_text().replace(old, new))
            yield
        finally:
            for file, text in kept.items():
                (self.place.directory / file).write_text(text)

    @contextlib.contextmanager
    def refusing(self, hook: str, rule: str) -> Iterator[Callable[[], int]]:
        """Have an nftables rule on the droplet; yields what says how many packets its counter has."""
        table = f"table inet refusing {{ chain some {{ type filter hook {hook} priority -10; {rule}; }}; }}"
        self.place.ssh("web1", f"nft '{table}'")

        def refused() -> int:
            return int(
                self.place.ssh(
                    "web1", "nft list table inet refusing | grep -oP '(?<=counter packets )[0-9]+'"
                )
            )

        try:
            yield refused
        finally:
            self.place.ssh("web1", "nft delete table inet refusing")

    def configuration(self) -> str:
        """All that a reboot would start with, by hash; what was armed; and what runs."""
        files = "/etc/nginx/nginx.conf /etc/nginx/sites /etc/ssh /etc/sudoers.d /etc/nftables.conf"
        files += " /etc/mongod.conf /etc/systemd/system"
        more = "ls /var/lib/smallfleet/undo/results /etc/nginx; nft -s list ruleset"
        return self.place.ssh("web1", f"find {files} -type f | sort | xargs sha256sum; {more}")

    def answers(self) -> bool:
        return [answer["status"] for answer in self.place.sites(self.inventory)] == [200]

    def crowd(self) -> Crowd:
        """Visitors of what the app has from MongoDB, on old and new connections, and of a file of NGINX's."""
        site = Visited("podcast", "podcast.example.com", self.address)
        visits = [
            Visit(site, "page", "/episodes/patch-day", rate=5, shows="Patch day"),
            Visit(site, "new", "/health", rate=5, fresh=True, shows="ok"),
            Visit(site, "file", "/static/site.css", rate=5, fresh=True),
        ]
        return Crowd(Lab.load(self.place.lab).ca, visits)

    def refused(self, fault: str, deploy: str, *edits: tuple[str, str, str], words: list[str]) -> Crowd:
        """Run a deploy with bad files: it fails, says these words, and leaves everything as it was.

        The visitors that were there; who asks for it judges what they saw.
        """
        before = self.configuration()
        with self.edited(*edits), self.crowd() as crowd:
            crowd.wait_for(30)
            with timed() as seconds:
                done = self.place.run("pyinfra", self.inventory, f"deploys/{deploy}.py", "-y", check=False)
            eventually(self.answers, "the site answers")
            crowd.wait_for(len(crowd.answers) + 30)
        said = done.stdout + done.stderr
        assert done.returncode != 0, said
        assert all(word in said for word in words), said
        assert self.configuration() == before, said
        lines = [new.replace(old, "").strip() if old in new else new for _, old, new in edits]
        record(
            Cost(
                "A bad configuration", fault, f"{Path(edits[0][0]).name}: {'; '.join(lines)}",
                len(crowd.answers), len(crowd.failed), told(said, *words), seconds(), outage(crowd),
            )
        )  # fmt: skip
        return crowd

    def problems(self) -> list[str]:
        done = self.place.run("fleet", "check", self.inventory, "--json", check=False)
        found = json.loads(done.stdout)
        assert list(found) == ["web1"] and done.returncode == bool(found["web1"]), done.stdout + done.stderr
        return found["web1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with workplace(tmp_path_factory.mktemp("safety"), INSTALLED) as place:
        site = Site(place)
        place.deploy(site.inventory, "deploys/site.py")
        eventually(site.answers, "the site answers")
        site.address = place.ssh("web1", "ip -4 -o address show dev eth0").split()[3].split("/")[0]
        yield site


def test_a_good_configuration_goes_live_and_a_second_run_changes_nothing(site: Site) -> None:
    with site.edited((NGINX, "send_timeout 60s", "send_timeout 61s")):
        changes = site.place.deploy(site.inventory, "deploys/nginx.py")["web1"]
        assert len(changes) == 1 and "nginx.conf and a vhost" in changes[0], changes
        assert site.place.deploy(site.inventory, "deploys/nginx.py") == {"web1": []}
    assert "send_timeout 61s" in site.place.ssh("web1", "nginx -T 2>/dev/null")
    site.place.deploy(site.inventory, "deploys/nginx.py")
    assert site.problems() == []


@pytest.mark.parametrize(
    ("edit", "words", "fault"),
    [
        # Refused by nginx -t.
        (
            (SITE, "    listen 80;", "    listen 80;\n    bogus on;"),
            ['unknown directive "bogus"', "stays"],
            "NGINX: a line that it does not know",
        ),
        (
            (SITE, CERTIFICATE, "/etc/nginx/tls/nowhere.pem"),
            ["nowhere.pem", "stays"],
            "NGINX: a certificate that is not there",
        ),
        # Valid, and yet the site would die of it: it is seen in the rehearsal.
        (
            (SITE, UWSGI, "unix:/run/nowhere.sock"),
            ["https://podcast.example.com/health", "502", "serves on"],
            "NGINX: a wrong upstream",
        ),
        (
            (SITE, STATIC, "/srv/nowhere/"),
            ["https://podcast.example.com/static/", "404", "serves on"],
            "NGINX: a directory that is not there",
        ),
        # Only the droplet itself shows it, while NGINX goes on with what it had.
        (
            (SITE, "    listen 80;", "    listen 80;\n    listen 127.0.0.1:27017;"),
            ["bind()", "is back"],
            "NGINX: a port that MongoDB has",
        ),
    ],
    ids=["syntax", "no-certificate", "upstream", "location", "listen-clash"],
)
def test_an_nginx_that_would_kill_the_site_reaches_no_visitor(
    site: Site, edit: tuple[str, str, str], words: list[str], fault: str
) -> None:
    crowd = site.refused(fault, "nginx", edit, words=words)
    assert not crowd.failed, crowd.table()


def test_what_a_rehearsal_cannot_show_is_undone(site: Site) -> None:
    """A second NGINX cannot reach what listens on the droplet's network: the real one has to tell."""
    words = ["https://podcast.example.com/health", "502", "is back"]
    edit = (SITE, UWSGI, "127.0.0.1:9")
    crowd = site.refused("NGINX: a wrong upstream by TCP", "nginx", edit, words=words)
    # From the reload to the undo, visitors meet it; and a reload may end a kept connection that is just used.
    assert (outage(crowd) or 0) < 150, crowd.table()
    assert {answer.status for answer in crowd.failed if answer.kind != "page"} <= {502}, crowd.table()
    assert {answer.status for answer in crowd.failed} <= {502, None}, crowd.table()
    assert "file" not in {answer.kind for answer in crowd.failed}, crowd.table()


def test_a_certificate_that_no_browser_takes_reaches_none(site: Site) -> None:
    placeholder = "/etc/nginx/tls/placeholder"
    certificate, key = (
        (SITE, CERTIFICATE, f"{placeholder}/fullchain.pem"),
        (SITE, KEY, f"{placeholder}/privkey.pem"),
    )
    words = ["its certificate is for another name", "serves on"]
    fault = "NGINX: a certificate for another name"
    crowd = site.refused(fault, "nginx", certificate, key, words=words)
    assert not crowd.failed, crowd.table()


@pytest.mark.parametrize(
    "gone",
    ["live/podcast", "archive/podcast", "renewal/podcast.conf", "live/podcast renewal/podcast.conf"],
)
def test_what_is_left_of_a_certificate_keeps_no_new_one_away(site: Site, gone: str) -> None:
    site.place.ssh("web1", f"cd /etc/letsencrypt && rm -r {gone}")
    changes = site.place.deploy(site.inventory, "deploys/tls.py")["web1"]
    assert len(changes) == 1 and "a certificate for each site" in changes[0], changes
    assert site.place.deploy(site.inventory, "deploys/tls.py") == {"web1": []}
    assert site.answers()
    left = site.place.ssh("web1", "find /etc/letsencrypt -name 'podcast-0*' -o -name '.aside*'")
    assert left == ""


def test_a_certificate_whose_renewal_is_lost_is_kept_until_there_is_a_new_one(site: Site) -> None:
    site.place.ssh("web1", "rm /etc/letsencrypt/renewal/podcast.conf")
    # Its ACME server is away.
    with site.refusing("output", "tcp dport 14000 reject"):
        done = site.place.run("pyinfra", site.inventory, "deploys/tls.py", "-y", check=False)
    assert done.returncode != 0, done.stdout
    assert site.answers()
    site.place.ssh("web1", "cd /etc/letsencrypt && openssl x509 -in live/podcast/cert.pem -noout -checkend 0")
    site.place.deploy(site.inventory, "deploys/tls.py")
    assert site.place.deploy(site.inventory, "deploys/tls.py") == {"web1": []}


def test_an_acme_server_that_cannot_reach_the_droplet_is_asked_once_more(site: Site) -> None:
    def asked(most: int) -> tuple[int, int]:
        """Refuse up to `most` connections to port 80; the run's status, and how many were refused."""
        # With a new account: an old one's names need not be shown to be ours again.
        site.place.ssh("web1", "cd /etc/letsencrypt && rm -r accounts renewal/podcast.conf")
        few = f"limit rate {most}/hour burst {most} packets"
        rule = f"tcp dport 80 tcp flags & (syn | ack) == syn {few} counter reject with tcp reset"
        with site.refusing("input", rule) as refused:
            done = site.place.run("pyinfra", site.inventory, "deploys/tls.py", "-y", check=False)
            counted = refused()
        assert site.answers()
        assert done.returncode == 0 or "connect: connection refused" in done.stderr, done.stderr
        return done.returncode, counted

    # Pebble asks three times at once for each of its two names, and gives up at the first that fails.
    status, refused = asked(1)
    assert (status, refused) == (0, 1)
    assert site.place.deploy(site.inventory, "deploys/tls.py") == {"web1": []}
    status, refused = asked(1000)
    assert status == 1 and refused >= 4
    site.place.deploy(site.inventory, "deploys/tls.py")
    assert site.place.deploy(site.inventory, "deploys/tls.py") == {"web1": []}


@pytest.mark.parametrize(
    ("deploy", "edit", "word"),
    [
        ("base", (SSH, "X11Forwarding no", "X11Forwarding no\nBogus yes"), "Bad configuration option"),
        ("base", (SUDO, "# Who", "bogus words here\n# Who"), "syntax error"),
        ("firewall", (NFTABLES, "iif lo accept", "iif lo bogus"), "syntax error"),
        ("mongodb", (MONGOD, "  port:", "  bogus: 1\n  port:"), "Unrecognized option: net.bogus"),
        ("uwsgi", (UNIT, "Type=notify", "Type=notify\nBogus=1"), "Unknown key"),
    ],
    ids=["sshd", "sudoers", "nftables", "mongod", "unit"],
)
def test_what_its_own_check_refuses_changes_nothing(
    site: Site, deploy: str, edit: tuple[str, str, str], word: str
) -> None:
    whose = {SSH: "sshd", SUDO: "sudo", NFTABLES: "nftables", MONGOD: "MongoDB", UNIT: "uWSGI's unit"}
    fault = f"{whose[edit[0]]}: a line that it does not know"
    crowd = site.refused(fault, deploy, edit, words=[word])
    assert not crowd.failed, crowd.table()


def test_a_mongod_that_does_not_come_up_gets_its_last_configuration_back(site: Site) -> None:
    edit = (MONGOD, "bindIp: 127.0.0.1,{{ address }}", "bindIp: 192.0.2.1")
    fault = "MongoDB: an address that the droplet does not have"
    crowd = site.refused(fault, "mongodb", edit, words=["Cannot assign requested address"])
    # It has to be restarted to see it: what needs MongoDB fails until it runs as before, and nothing else.
    assert {answer.kind for answer in crowd.failed} <= {"page", "new"}, crowd.table()
    assert (outage(crowd) or 0) < 180, crowd.table()
    assert site.place.ssh("web1", "systemctl is-active mongod").strip() == "active"


def test_the_check_names_what_would_not_come_back_from_a_reboot(site: Site) -> None:
    assert site.problems() == []
    bad = """set -e
        cp -a /etc/nftables.conf /etc/mongod.conf /etc/systemd/system/podcast@2*.service /root/
        echo 'bogus on;' > /etc/nginx/sites/zz.conf
        echo 'Bogus yes' > /etc/ssh/sshd_config.d/zz.conf
        echo 'bogus' > /etc/sudoers.d/zz
        echo 'bogus' >> /etc/nftables.conf
        sed -i 's/^  port:/  porrt:/' /etc/mongod.conf
        sed -i 's/^Type=.*/Type=bogus/' /etc/systemd/system/podcast@2*.service
        echo '/dev/nowhere /mnt ext4 defaults 0 2' >> /etc/fstab
        systemctl -q disable nginx mongod podcast.socket
        systemctl daemon-reload"""
    good = """rm -f /etc/nginx/sites/zz.conf /etc/ssh/sshd_config.d/zz.conf /etc/sudoers.d/zz
        cp -a /root/nftables.conf /root/mongod.conf /etc/
        cp -a /root/podcast@2*.service /etc/systemd/system/
        sed -i /nowhere/d /etc/fstab
        systemctl -q enable nginx mongod podcast.socket
        systemctl daemon-reload"""
    try:
        site.place.ssh("web1", bad)
        problems = site.problems()
    finally:
        site.place.ssh("web1", good)
    for word in [
        "sshd's configuration",
        "sudo's configuration",
        "the firewall's rules",
        "NGINX's configuration",
        "nginx.service would not be started at boot",
        "MongoDB's configuration: Unrecognized option: net.porrt",
        "mongod.service would not be started at boot",
        "podcast.socket would not be started at boot",
        "podcast@",
        "/etc/fstab",
    ]:
        assert any(word in problem for problem in problems), f"{word} is not in:\n" + "\n".join(problems)
    assert site.problems() == []
