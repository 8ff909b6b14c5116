"""A deploy that is cut off at any step leaves its site serving, and the next run completes it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import urllib3
import yaml

from tests.lab.conftest import Workplace, workplace
from tests.lab.test_runs import Started

CUT, SITE = "inventory/cut.py", "deploys/site.py"
DOMAIN = "podcast.example.com"


@dataclass
class Visitor:
    """Asks the site again and again, on a new connection each time; keeps what went wrong and when."""

    address: str
    ca: str
    asked: int = 0
    failed: list[tuple[float, str]] = field(default_factory=list)
    away: bool = False  # the droplet reboots: nothing is expected of it
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Visitor:
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def ask(self) -> str | None:
        """What is wrong with the answer; None if nothing is."""
        options = {"server_hostname": DOMAIN, "assert_hostname": DOMAIN, "ca_certs": self.ca}
        try:
            with urllib3.HTTPSConnectionPool(self.address, 443, retries=False, timeout=15, **options) as pool:
                # A page that comes from the app and MongoDB each time, and not from NGINX's cache.
                response = pool.request("GET", "/health", headers={"Host": DOMAIN})
        except urllib3.exceptions.HTTPError as error:
            return str(error)
        return None if response.status == 200 else f"status {response.status}"

    def _visit(self) -> None:
        while not self._stop.wait(0.15):
            away = self.away
            wrong = self.ask()
            if not away and not self.away:
                self.asked += 1
                if wrong:
                    self.failed.append((time.monotonic(), wrong))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("cut")) as place:
        place.write_inventory("cut", {"web1": ["podcast", "mongodb"]})
        place.deploy(CUT, SITE)
        yield place


@pytest.fixture(scope="module")
def visitor(place: Workplace) -> Iterator[Visitor]:
    site = place.sites(CUT)[0]
    words = site["curl"].split()
    with Visitor(site["address"], words[words.index("--cacert") + 1]) as visitor:
        assert visitor.ask() is None
        yield visitor


def change(place: Workplace, number: int) -> None:
    """Ask for a new rate limit in NGINX, a new release of the app and a new limit of the journal."""
    file = place.directory / "roles/podcast.yml"
    role = yaml.safe_load(file.read_text())
    role["nginx"]["rate"]["burst"] = 1000 + number
    role["app"]["environment"] = {"ROUND": str(number)}
    file.write_text(yaml.safe_dump(role, sort_keys=False))


def completed(place: Workplace, number: int) -> None:
    """What was asked for is what runs."""
    nginx = place.ssh("web1", "nginx -T 2>/dev/null | grep -c 'burst=%d ' || true" % (1000 + number))
    assert int(nginx) > 0
    environment = place.ssh(
        "web1",
        "cat /proc/$(systemctl show -P MainPID 'podcast@*.service' | head -1)/environ | tr '\\0' '\\n'",
    )
    assert f"ROUND={number}" in environment.split(), environment
    status = json.loads(place.ssh("web1", "smallfleet-release status podcast"))
    assert status["changed"] == [] and status["trouble"] is None


def on_droplet(place: Workplace, test: str) -> Callable[[], bool]:
    """A condition: the shell command `test` succeeds on the droplet."""
    return lambda: place.ssh("web1", f"{test} && echo yes || true", check=False).strip() == "yes"


# Where the client is killed: what pyinfra says at that moment.
KILLED = [
    "Preparing operation files",
    "Starting operation: Update the packages' lists, once a day",
    "Starting operation: Let in by key only",
    "Starting operation: Configure MongoDB",
    "Starting operation: NGINX: nginx.conf and a vhost for each app",
    "Starting operation: NGINX runs, also after a reboot",
    "Starting operation: Web app: its environment",
    "Starting operation: Web app: what to release",
    "Starting operation: Web app: release",
]


def test_a_killed_run_leaves_the_site_serving(place: Workplace, visitor: Visitor) -> None:
    for number, said in enumerate(KILLED):
        change(place, number)
        run = Started(place, "pyinfra", CUT, SITE, "-y")
        run.says(said)
        run.kill()
        assert visitor.ask() is None, f"after the cut at {said!r}"
        place.deploy(CUT, SITE)
        completed(place, number)
    assert visitor.failed == [] and visitor.asked > 100
