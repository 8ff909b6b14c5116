"""Maintenance on a real droplet: what visitors get, how it ends, and that nobody takes it for health."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import INSTALLED, Workplace, eventually, workplace

DROPLET = "one"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("maintenance"), INSTALLED) as place:
        inventory = place.write_inventory("one", {DROPLET: ["podcast", "api", "mongodb"]})
        role = place.directory / "roles/podcast.yml"
        role.write_text(role.read_text().replace("seconds: 60}", "seconds: 1}"))
        place.deploy(inventory, "deploys/site.py")
        yield place


INVENTORY = "inventory/one.py"


class Visitor:
    """Asks the sites from outside, as curl does."""

    def __init__(self, place: Workplace) -> None:
        self.ca = Lab.load(place.lab).ca
        self.addresses = {answer["role"]: answer["address"] for answer in place.sites(INVENTORY)}

    def get(self, site: str, path: str, *words: str) -> tuple[int, dict[str, str], str]:
        """Status, headers (names in lower case) and body of one request."""
        domain = f"{site}.example.com"
        resolve = f"{domain}:443:{self.addresses[site]}"
        command = ["curl", "-s", "-i", "-m", "20", "--http1.1", "--cacert", self.ca, "--resolve", resolve]
        done = subprocess.run(
            [*command, *words, f"https://{domain}{path}"], capture_output=True, text=True, check=True
        )
        head, _, body = done.stdout.partition("\n\n")
        status, *lines = head.splitlines()
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), headers, body


@pytest.fixture(scope="module")
def visitor(place: Workplace) -> Visitor:
    return Visitor(place)


def in_maintenance(place: Workplace) -> dict[str, dict]:
    return json.loads(place.ssh(DROPLET, "smallfleet-maintenance status"))


def test_what_can_be_served_is_and_the_rest_is_asked_to_come_back(place: Workplace, visitor: Visitor) -> None:
    pages = {path: visitor.get("podcast", path)[2] for path in ("/", "/feed.rss", "/static/site.css")}
    try:
        place.run("fleet", "maintenance", "on", INVENTORY, "--for", "5m", "--message", "Soon & <sound>")
        place.ssh(DROPLET, "systemctl stop mongod; sleep 1.5")  # the cached pages are older than they may be
        for path, text in pages.items():
            for _ in range(3):
                status, headers, body = visitor.get("podcast", path)
                assert (status, body, headers["x-maintenance"]) == (200, text, "on")
        for path in ("/episodes/patch-day", "/?never=cached", "/health"):
            status, headers, body = visitor.get("podcast", path, "-H", "Accept: text/html")
            assert status == 503 and int(headers["retry-after"]) > 0 and headers["x-maintenance"] == "on"
            assert headers["content-type"].startswith("text/html") and "Soon &amp; &lt;sound&gt;" in body
            assert headers["cache-control"] == "no-store"
        for words in (
            (),
            ("-d", '{"text": "a"}'),
            ("-X", "PUT", "-d", "x" * 100_000),
            ("-H", "Accept: application/json"),
        ):
            status, headers, body = visitor.get("api", "/v1/courses/web-pages", *words)
            assert status == 503 and int(headers["retry-after"]) > 0
            assert headers["content-type"] == "application/json"
            assert json.loads(body) == {"error": "maintenance", "message": "Soon & <sound>"}
        assert visitor.get("api", "/", "-H", "Accept: text/html")[1]["content-type"].startswith("text/html")

        # Our own eyes see it, also where a visitor sees the page.
        answers = {answer["role"]: answer for answer in place.sites(INVENTORY)}
        assert answers["podcast"]["status"] == 200 and answers["podcast"]["maintenance"]
        assert answers["api"]["status"] == 503 and answers["api"]["maintenance"]
        assert place.run("fleet", "lab", "sites", INVENTORY, check=False).returncode == 1
        shown = place.run("fleet", "maintenance", "status", INVENTORY, "--json", check=False)
        assert json.loads(shown.stdout).keys() == {"api", "podcast"} and shown.returncode == 1

        # While MongoDB is away, no site is let back.
        refused = place.ssh(
            DROPLET, "smallfleet-maintenance off podcast --when-healthy --within 2 2>&1 || true"
        )
        assert "still in maintenance" in refused and in_maintenance(place).keys() == {"api", "podcast"}
    finally:
        place.ssh(DROPLET, "systemctl start mongod")
    place.run("fleet", "maintenance", "off", INVENTORY)
    assert in_maintenance(place) == {}
    for site, path in (("podcast", "/"), ("podcast", "/episodes/patch-day"), ("api", "/v1/courses")):
        status, headers, _ = visitor.get(site, path)
        assert status == 200 and "x-maintenance" not in headers
    assert place.run("fleet", "maintenance", "status", INVENTORY).returncode == 0


def test_one_site_of_a_droplet_can_be_meant(place: Workplace, visitor: Visitor) -> None:
    place.run("fleet", "maintenance", "on", INVENTORY, "api", "--for", "5m")
    assert in_maintenance(place).keys() == {"api"}
    assert visitor.get("podcast", "/episodes/patch-day")[0] == 200
    # A second time changes when it ends, and what it says.
    place.run("fleet", "maintenance", "on", INVENTORY, "api", "--for", "10m", "--message", "Longer")
    assert visitor.get("api", "/v1/courses")[1]["retry-after"] == "120"
    place.run("fleet", "maintenance", "off", INVENTORY, "api")
    assert place.run("fleet", "maintenance", "off", INVENTORY, "api").returncode == 0
    wrong = place.run("fleet", "maintenance", "on", INVENTORY, "apl", check=False)
    assert wrong.returncode == 1 and "no site apl" in wrong.stderr and "Traceback" not in wrong.stderr


def test_it_ends_by_itself_also_after_a_reboot(place: Workplace, visitor: Visitor) -> None:
    place.ssh(DROPLET, "smallfleet-maintenance on api --for 3s")
    assert visitor.get("api", "/v1/courses")[0] == 503
    eventually(lambda: visitor.get("api", "/v1/courses")[0] == 200, "the maintenance is over")

    boot = place.ssh(DROPLET, "cat /proc/sys/kernel/random/boot_id")
    place.ssh(
        DROPLET, "smallfleet-maintenance on podcast --for 60s; systemctl --no-block reboot", check=False
    )

    def back() -> bool:
        return place.ssh(DROPLET, "cat /proc/sys/kernel/random/boot_id", check=False) not in ("", boot)

    eventually(back, "the droplet has booted anew")
    assert in_maintenance(place).keys() == {"podcast"}
    # The page that was cached before the reboot is there after it, and before anything else works.
    assert visitor.get("podcast", "/feed.rss")[0] == 200
    place.ssh(DROPLET, "smallfleet-maintenance on podcast --for 2s")
    eventually(lambda: in_maintenance(place) == {}, "the maintenance is over")
    assert "ends by itself" in place.ssh(DROPLET, "journalctl -b -u smallfleet-maintenance -o cat")


def test_a_deploy_leaves_maintenance_alone(place: Workplace) -> None:
    place.ssh(DROPLET, "smallfleet-maintenance on api --for 5m")
    assert place.deploy(INVENTORY, "deploys/nginx.py") == {DROPLET: []}
    assert in_maintenance(place).keys() == {"api"}
    place.ssh(DROPLET, "smallfleet-maintenance off api --when-healthy")
    assert in_maintenance(place) == {}
