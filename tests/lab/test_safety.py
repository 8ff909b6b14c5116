"""A bad configuration never goes live, and what lies on the disk survives a reboot: on a real droplet."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Workplace, eventually, workplace

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

    def configuration(self) -> str:
        """All that a reboot would start with, by hash; what was armed; and what runs."""
        files = "/etc/nginx/nginx.conf /etc/nginx/sites /etc/ssh /etc/sudoers.d /etc/nftables.conf"
        files += " /etc/mongod.conf /etc/systemd/system"
        more = "ls /var/lib/smallfleet/undo/results /etc/nginx; nft -s list ruleset"
        return self.place.ssh("web1", f"find {files} -type f | sort | xargs sha256sum; {more}")

    def answers(self) -> bool:
        return [answer["status"] for answer in self.place.sites(self.inventory)] == [200]

    def refused(self, deploy: str, *edits: tuple[str, str, str]) -> str:
        """Run a deploy with bad files: it fails and leaves everything as it was. What the owner is told."""
        before = self.configuration()
        with self.edited(*edits):
            done = self.place.run("pyinfra", self.inventory, f"deploys/{deploy}.py", "-y", check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0, said
        assert self.configuration() == before, said
        eventually(self.answers, "the site answers", 30)
        return said

    def problems(self) -> list[str]:
        done = self.place.run("fleet", "check", self.inventory, "--json", check=False)
        found = json.loads(done.stdout)
        assert list(found) == ["web1"] and done.returncode == bool(found["web1"]), done.stdout + done.stderr
        return found["web1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with workplace(tmp_path_factory.mktemp("safety")) as place:
        site = Site(place)
        place.deploy(site.inventory, "deploys/site.py")
        eventually(site.answers, "the site answers", 60)
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
    ("edit", "words"),
    [
        # Refused by nginx -t.
        ((SITE, "    listen 80;", "    listen 80;\n    bogus on;"), ['unknown directive "bogus"', "stays"]),
        ((SITE, CERTIFICATE, "/etc/nginx/tls/nowhere.pem"), ["nowhere.pem", "stays"]),
        # Valid, and yet the site dies of it.
        ((SITE, UWSGI, "unix:/run/nowhere.sock"), ["https://podcast.example.com/health", "502", "is back"]),
        ((SITE, STATIC, "/srv/nowhere/"), ["https://podcast.example.com/static/", "404", "is back"]),
        ((SITE, "    listen 80;", "    listen 80;\n    listen 127.0.0.1:27017;"), ["bind()", "is back"]),
    ],
    ids=["syntax", "no-certificate", "upstream", "location", "listen-clash"],
)
def test_an_nginx_that_would_kill_the_site_is_undone(
    site: Site, edit: tuple[str, str, str], words: list[str]
) -> None:
    said = site.refused("nginx", edit)
    assert all(word in said for word in words), said


def test_a_certificate_that_no_browser_takes_is_undone(site: Site) -> None:
    placeholder = "/etc/nginx/tls/placeholder"
    certificate, key = (
        (SITE, CERTIFICATE, f"{placeholder}/fullchain.pem"),
        (SITE, KEY, f"{placeholder}/privkey.pem"),
    )
    said = site.refused("nginx", certificate, key)
    assert "its certificate is for another name" in said and "is back" in said, said


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
    assert word in site.refused(deploy, edit)


def test_a_mongod_that_does_not_come_up_gets_its_last_configuration_back(site: Site) -> None:
    edit = (MONGOD, "bindIp: 127.0.0.1,{{ address }}", "bindIp: 192.0.2.1")
    said = site.refused("mongodb", edit)
    assert "Cannot assign requested address" in said, said
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
