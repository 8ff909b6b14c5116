"""A deploy that is cut off at any step leaves its site serving, and the next run completes it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import urllib3
import yaml

from tests.lab.conftest import INSTALLED, Workplace, eventually, workplace
from tests.lab.faults import Cost, record
from tests.lab.started import Started, silence

CUT, SITE = "inventory/cut.py", "deploys/site.py"
NGINX, WEBAPP = "deploys/nginx.py", "deploys/webapp.py"
DOMAIN = "podcast.example.com"


@dataclass
class Visitor:
    """Asks the site again and again, on a new connection each time; keeps what went wrong and when."""

    address: str
    ca: str
    asked: int = 0
    failed: list[tuple[float, str]] = field(default_factory=list)
    away: bool = False  # the droplet reboots: nothing is expected of it
    missed: int = 0  # what it did not answer while it was away
    away_for: float = 0.0  # seconds
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
            if away or self.away:
                self.missed += wrong is not None
            else:
                self.asked += 1
                if wrong:
                    self.failed.append((time.monotonic(), wrong))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("cut"), INSTALLED) as place:
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
    assert place.ssh("web1", f"nginx -T 2>/dev/null | grep -o 'burst={1000 + number} '")
    main = "$(systemctl show -P MainPID 'podcast@*.service' | head -1)"
    environment = place.ssh("web1", f"tr '\\0' '\\n' < /proc/{main}/environ")
    assert f"ROUND={number}" in environment.split(), environment
    status = json.loads(place.ssh("web1", "smallfleet-release status podcast"))
    assert status["changed"] == [] and status["trouble"] is None


def on_droplet(place: Workplace, test: str) -> Callable[[], bool]:
    """A condition: the shell command `test` succeeds on the droplet."""
    return lambda: place.ssh("web1", f"{test} && echo yes || true", check=False).strip() == "yes"


def next_run(place: Workplace, number: int) -> None:
    """The next run, of what a change touches, completes it."""
    place.deploy(CUT, NGINX, WEBAPP)
    completed(place, number)


under_way: list[Started] = []


def start(place: Workplace, *deploys: str) -> Started:
    under_way.append(Started(place, "pyinfra", CUT, *deploys, "-y"))
    return under_way[-1]


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    """A number for each change."""
    return itertools.count(1)


KILL = "kill -9 of pyinfra"


class Cuts:
    """What a test has cut off, for the table."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._rows: list[tuple[str, str, float]] = []
        self._asked = [(visitor.asked, visitor.missed)]

    def __call__(self, where: str, how: str = KILL) -> None:
        """A run was cut off there just now."""
        self._rows.append((where, how, time.monotonic()))
        self._asked.append((self._visitor.asked, self._visitor.missed))

    def record(self) -> None:
        """The next run has completed it. Requests: since the cut before, and after the last one."""
        self._asked[-1] = (self._visitor.asked, self._visitor.missed)
        counts = zip(self._asked, self._asked[1:], strict=False)
        for (where, how, at), (before, after) in zip(self._rows, counts, strict=True):
            missed = after[1] - before[1]
            sent = after[0] - before[0] + missed
            words = "by the next run, which completes it: the run … was cut off. Going on."
            seconds = time.monotonic() - at
            away = self._visitor.away_for if missed else None
            record(Cost("A run cut off", where, how, sent, missed, words, seconds, away))


@pytest.fixture(autouse=True)
def cut(visitor: Visitor) -> Iterator[Cuts]:
    """The site served throughout the test, and afterwards."""
    visitor.failed.clear()
    asked, cuts = visitor.asked, Cuts(visitor)
    yield cuts
    while under_way:
        under_way.pop().kill()  # a test that failed leaves nothing that has its turn
    assert visitor.ask() is None
    assert visitor.failed == [] and visitor.asked > asked
    cuts.record()


def test_killed_before_its_own_changes_begin(place: Workplace, numbers: Iterator[int], cut: Cuts) -> None:
    """Five cuts, each further on than the one before, in runs of all deploys."""
    number = next(numbers)
    change(place, number)
    for said in (
        "Connected",
        "Preparing operation files",
        "| Let in by key only",
        "| Configure MongoDB",
        "| NGINX: nginx.conf and a vhost for each app",
    ):
        run = start(place, SITE)
        run.says(said)
        run.kill()
        cut(f"at “{said.strip('| ')}”")
    next_run(place, number)


@pytest.mark.parametrize(
    "said",
    [
        "Starting operation: NGINX runs, also after a reboot",
        "Starting operation: Web app: release",
    ],
)
def test_killed_between_its_changes(place: Workplace, numbers: Iterator[int], cut: Cuts, said: str) -> None:
    number = next(numbers)
    change(place, number)
    run = start(place, NGINX, WEBAPP)
    run.says(said)
    run.kill()
    cut(f"at “{said.partition(': ')[2]}”")
    next_run(place, number)


@pytest.mark.parametrize(
    "seen",
    [
        "pgrep -f '[s]mallfleet-release deploy podcast' >/dev/null",
        "systemctl list-units --plain --no-legend 'podcast-candidate@*' | grep -q .",
    ],
    ids=["while the release is built", "while the candidate is tried"],
)
def test_killed_while_the_droplet_works(
    place: Workplace, numbers: Iterator[int], cut: Cuts, seen: str
) -> None:
    number = next(numbers)
    change(place, number)
    run = start(place, NGINX, WEBAPP)
    run.says("Starting operation: Web app: release")
    eventually(lambda: on_droplet(place, seen)() or run.process.poll() is not None, seen)
    run.kill()
    cut("while the candidate is tried" if "candidate" in seen else "while the release is built")
    next_run(place, number)


def test_its_connection_is_cut(place: Workplace, numbers: Iterator[int], cut: Cuts) -> None:
    """The network drops every packet of the run's connections: nobody is told."""
    number = next(numbers)
    change(place, number)
    run = start(place, NGINX, WEBAPP)
    run.says("Starting operation: Web app: its environment")
    with silence(place, ["web1"]):
        run.kill()
        cut("before the app's environment", "every packet of its connections dropped")
        eventually(lambda: not alive(place), "the lock of the run that was cut off is dead")
        next_run(place, number)


def test_its_sshd_is_killed(place: Workplace, numbers: Iterator[int], cut: Cuts) -> None:
    number = next(numbers)
    change(place, number)
    run = start(place, NGINX, WEBAPP)
    run.says("Starting operation: Web app: what to release")
    # All of root's sessions but this command's own.
    others = "for p in $(pgrep -f '^sshd: root@notty'); do [ $p = $PPID ] || kill -9 $p; done"
    place.ssh("web1", others)
    cut("before the release", "its sshd on the droplet killed")
    assert run.ends() != 0, run.said
    next_run(place, number)


def test_its_droplet_reboots(place: Workplace, visitor: Visitor, numbers: Iterator[int], cut: Cuts) -> None:
    number = next(numbers)
    change(place, number)
    run = start(place, NGINX, WEBAPP)
    run.says("Starting operation: Web app: release")
    visitor.away, began = True, time.monotonic()
    place.ssh("web1", "systemctl --no-block reboot", check=False)
    run.ends()
    eventually(lambda: visitor.ask() is None, "the site is back by itself")
    visitor.away, visitor.away_for = False, time.monotonic() - began
    cut("in the middle of a release", "its droplet rebooted")
    # uWSGI's processes end when they are told to. Who does not holds up the reboot until systemd kills it.
    ended = place.ssh("web1", "journalctl -b -1 -o cat -u 'podcast@*'")
    assert "Deactivated successfully" in ended and "timed out. Killing" not in ended, ended[-3000:]
    next_run(place, number)


def test_after_all_cuts_a_run_changes_nothing(place: Workplace) -> None:
    place.deploy(CUT, SITE)
    assert place.deploy(CUT, SITE) == {"web1": []}
    runs = json.loads(place.run("fleet", "history", CUT, "--json", "-n", "100").stdout)
    cut = [run for run in runs if run["result"] in ("cut off", "failed", "stopped", "not begun")]
    assert len(cut) >= 10, [run["result"] for run in runs]


def alive(place: Workplace) -> bool:
    return any(
        lock["alive"] for lock in json.loads(place.run("fleet", "lock", "status", CUT, "--json").stdout)
    )
