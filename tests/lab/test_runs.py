"""One run at a time on real droplets, from nothing on; and the record that each leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from smallfleet.cloud.client import Client
from smallfleet.lab.descriptor import Lab
from smallfleet.secrets import Secret
from tests.lab.conftest import BIN, Workplace, eventually, workplace
from tests.lab.faults import Cost, record, timed, told
from tests.lab.started import Started, silence

# A deploy of three steps, the second of which takes as long as it is told.
TINY = """
from io import StringIO
from pyinfra import host
from pyinfra.operations import files, server
value = host.data.get("value")
files.put(name="Put one", src=StringIO(f"value {value}\\n"), dest="/srv/one")
if host.data.get("wait"):
    seconds = host.data.get("wait")
    server.shell(name="Wait", commands=[f"for _ in $(seq {seconds}); do test -e /run/go || sleep 1; done"])
files.put(name="Put two", src=StringIO(f"value {value}\\n"), dest="/srv/two")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("runs")) as place:
        (place.directory / "deploys/tiny.py").write_text(TINY)
        place.write_inventory("small", {"web1": ["media"], "db": ["mongodb"]})
        yield place


SMALL, DEPLOY = "inventory/small.py", "deploys/tiny.py"


def tiny(place: Workplace, value: str, *words: str) -> Started:
    return Started(place, "pyinfra", SMALL, DEPLOY, "-y", "--data", f"value={value}", *words)


def note(fault: str, cause: str, run: Started, seconds: float, word: str) -> None:
    """A row of the table; no site is there to be asked."""
    record(Cost("Two runs", fault, cause, None, None, told(run.said, word), seconds))


def account(place: Workplace) -> Client:
    lab = Lab.load(place.lab)
    return Client(lab.api, Secret(lab.token))


def things(place: Workplace) -> dict[str, list[str]]:
    """What there is in the account, by its names."""
    client = account(place)
    domains = [domain["name"] for domain in client.get("domains")["domains"]]
    return {
        "droplets": sorted(d["name"] for d in client.get("droplets")["droplets"]),
        "vpcs": [v["name"] for v in client.get("vpcs")["vpcs"] if not v["default"]],
        "keys": [key["name"] for key in client.get("account/keys")["ssh_keys"]],
        "tags": sorted(tag["name"] for tag in client.get("tags")["tags"]),
        "firewalls": [firewall["name"] for firewall in client.get("firewalls")["firewalls"]],
        "domains": domains,
        "records": [
            record["name"]
            for domain in domains
            for record in client.get(f"domains/{domain}/records")["domain_records"]
            if record["type"] == "A"
        ],
        "projects": [project["name"] for project in client.get("projects")["projects"]],
    }


WHOLE = {
    "droplets": ["db", "web1"],
    "vpcs": ["smallfleet-small"],
    "keys": ["smallfleet-small-1"],
    "tags": ["smallfleet-small", "smallfleet-small:media", "smallfleet-small:mongodb"],
    "firewalls": ["smallfleet-small"],
    "domains": ["example.com"],
    "records": ["media"],
    "projects": [],
}


def hold_up(place: Workplace, path: str) -> None:
    """Let the next POST to `path` take three seconds."""
    lab = Lab.load(place.lab)
    requests.post(
        f"{lab.api.removesuffix('v2/')}lab/faults",
        headers={"Authorization": f"Bearer {lab.token}"},
        json={"method": "POST", "path": path, "delay": 3},
        timeout=10,
    ).raise_for_status()


def test_a_creation_killed_at_each_step_is_completed_by_the_next_run(place: Workplace) -> None:
    """Each run is killed one step further than the one before it, and goes on where that one was killed."""

    # Looked up in the API's own file: asked as often as here, the API would soon refuse (429).
    file = Lab.load(place.lab).path / "api.json"

    def now(kind: str) -> list[dict[str, Any]]:
        return list(json.loads(file.read_text()).get(kind, {}).values()) if file.exists() else []

    def there(kind: str, count: int = 1) -> Callable[[], bool]:
        return lambda: len(now(kind)) >= count

    def all_active() -> bool:
        return len(now("droplets")) == 2 and all(d["status"] == "active" for d in now("droplets"))

    def recorded() -> bool:
        return any(r["type"] == "A" for domain in now("domains") for r in domain["records"].values())

    steps: list[tuple[str, str | None, Callable[[], bool]]] = [
        ("the claim is made", "/vpcs$", there("projects")),
        ("the VPC is made", "/account/keys$", there("vpcs")),
        ("the key is made", "/tags$", there("keys")),
        ("the tags are made", "/firewalls$", there("tags", 3)),
        ("the firewall is made", "/droplets$", there("firewalls")),
        ("the droplets are asked for", None, there("droplets")),
        ("the droplets are active", "/domains$", all_active),
        ("the domain is made", "/records$", there("domains")),
        ("the record is made", None, recorded),
    ]
    began = time.monotonic()
    for what, held_up, condition in steps:
        if held_up:
            hold_up(place, held_up)
        run = tiny(place, "one")
        run.until(condition, what)
        run.kill()
    said = ("Connected", "Starting operation: Put one", "Starting operation: Put two")
    for what in said:
        run = tiny(place, "one", "--data", "wait=1")
        run.says(what)
        run.kill()
    place.deploy(SMALL, DEPLOY, "--data", "value=one")
    assert things(place) == WHOLE
    points = [*(what for what, _, _ in steps), *(what.removeprefix("Starting operation: ") for what in said)]
    where = f"creation, at {len(points)} points one after the other: {', '.join(points)}"
    words = "by the next run, which goes on; nothing was created twice"
    no_site = None, None
    seconds = time.monotonic() - began
    record(Cost("A run cut off", where, "kill -9 of pyinfra", *no_site, words, seconds))
    assert place.deploy(SMALL, DEPLOY, "--data", "value=one") == {"web1": [], "db": []}


def test_two_runs_that_create_from_nothing_create_nothing_twice(place: Workplace) -> None:
    lab = Lab.load(place.lab)
    subprocess.run(
        [str(BIN / "fleet"), "destroy", SMALL],
        cwd=place.directory,
        env={**os.environ, "SMALLFLEET_LAB": lab.name},
        input="small\n",
        text=True,
        check=True,
        capture_output=True,
    )
    assert things(place)["droplets"] == []
    runs = [tiny(place, "two") for _ in range(2)]
    statuses = sorted(run.ends() for run in runs)
    said = "\n".join(run.said for run in runs)
    assert statuses == [0, 1], said
    assert said.count("it is the turn of") == 1 and "Traceback" not in said, said
    assert things(place) == WHOLE


def test_a_second_run_says_whose_turn_it_is(place: Workplace) -> None:
    first = tiny(place, "three", "--data", "wait=300")
    first.says("Starting operation: Wait")
    # A run that is limited to another droplet has to wait for its turn as well.
    with timed() as seconds:
        second = tiny(place, "four", "--limit", "db")
        assert second.ends() == 1
    fault, cause = "Two runs at once", "a second run, limited to another droplet"
    note(fault, cause, second, seconds(), "it is the turn of")
    assert second.said.count("it is the turn of") == 1 and "Traceback" not in second.said, second.said
    assert f"pyinfra {SMALL} {DEPLOY}" in second.said and f"fleet lock break {SMALL}" in second.said
    # Who only looks takes no turn.
    place.run("pyinfra", SMALL, DEPLOY, "--dry", "--data", "value=four")
    place.run("pyinfra", SMALL, "fact", "server.Hostname")
    found = json.loads(place.run("fleet", "lock", "status", SMALL, "--json").stdout)
    assert {lock["where"] for lock in found} == {"web1", "db"} and all(lock["alive"] for lock in found)
    for droplet in ("web1", "db"):
        place.ssh(droplet, "touch /run/go")
    assert first.ends() == 0, first.said
    for droplet in ("web1", "db"):
        place.ssh(droplet, "rm /run/go")
    assert "nobody's turn" in place.run("fleet", "lock", "status", SMALL).stdout
    assert place.ssh("db", "cat /srv/two") == "value three\n"


def test_a_broken_lock_stops_its_run_before_the_next_step(place: Workplace) -> None:
    run = tiny(place, "five", "--data", "wait=600")
    run.says("Starting operation: Wait")
    with timed() as seconds:
        said = place.run("fleet", "lock", "break", SMALL, "--force").stderr
        assert "is alive" in said and "wait=600" in said
        for droplet in ("web1", "db"):
            place.ssh(droplet, "touch /run/go")
        assert run.ends() == 1
    for droplet in ("web1", "db"):
        place.ssh(droplet, "rm /run/go")
    note("A lock that is broken", "fleet lock break --force", run, seconds(), "broke the lock")
    assert "broke the lock" in run.said and "Traceback" not in run.said, run.said
    assert "pyinfra error: stopped: " in run.said, run.said  # the sentence alone, without a place in gevent
    assert place.ssh("web1", "cat /srv/one") == "value five\n" != place.ssh("web1", "cat /srv/two")
    newest = json.loads(place.run("fleet", "history", SMALL, "--json", "-n", "1").stdout)[0]
    assert newest["result"].startswith("stopped") and newest["result"].endswith("broke the lock")


def test_a_killed_run_blocks_nobody_and_is_remembered(place: Workplace) -> None:
    run = tiny(place, "six", "--data", "wait=600")
    run.says("Starting operation: Wait")
    run.kill()
    began = time.monotonic()
    following = tiny(place, "seven")
    assert following.ends() == 0, following.said
    assert time.monotonic() - began < 500, "it has waited for the dead one"
    assert "was cut off" in following.said
    note("A dead run's lock", "kill -9 of a run", following, time.monotonic() - began, "was cut off")
    newest, killed = json.loads(place.run("fleet", "history", SMALL, "--json", "-n", "2").stdout)
    assert newest["result"] == "done" and killed["result"] == "cut off"


def test_a_run_whose_machine_fell_silent_loses_its_turn(place: Workplace) -> None:
    """The owner's laptop sleeps in mid-run: it says nothing, and does not hang up. Then it wakes."""
    run = tiny(place, "eight", "--data", "wait=3")
    run.says("Starting operation: Wait")
    began = time.monotonic()
    run.process.send_signal(signal.SIGSTOP)
    with silence(place, ["web1", "db"]):

        def dead() -> bool:
            locks = json.loads(place.run("fleet", "lock", "status", SMALL, "--json").stdout)
            return not any(lock["alive"] for lock in locks)

        eventually(dead, "the silent run's locks are dead")
        place.deploy(SMALL, DEPLOY, "--data", "value=awake")
        run.process.send_signal(signal.SIGCONT)
        assert run.ends() == 1, run.said
    assert "Success" not in run.said.partition("Put two")[2], run.said
    fault, cause = "A laptop that sleeps in mid-run", "SIGSTOP and silence; another run; then it wakes"
    note(fault, cause, run, time.monotonic() - began, "had its turn")
    assert place.ssh("web1", "cat /srv/two") == "value awake\n"


def test_the_history_tells_what_changed_with_its_diff(place: Workplace) -> None:
    place.deploy(SMALL, DEPLOY, "--data", "value=nine", "--limit", "db")
    runs = json.loads(place.run("fleet", "history", SMALL, "--droplet", "db", "--json").stdout)
    newest = runs[0]
    assert newest["result"] == "done" and newest["limit"] == ["db"] and "@" in newest["who"]
    assert newest["command"].startswith("pyinfra --json inventory/small.py deploys/tiny.py -y")
    changes = newest["droplets"]["db"]["changes"]
    assert [change["operation"] for change in changes] == ["Put one", "Put two"]
    assert "+ value nine" in changes[0]["diff"] and any(
        line.startswith("- value") for line in changes[0]["diff"]
    )
    table = place.run("fleet", "history", SMALL).stdout
    assert newest["id"] in table
    assert "+ value nine" in place.run("fleet", "history", SMALL, newest["id"]).stdout
    assert place.ssh("db", f"stat -c %a /var/log/smallfleet/runs/{newest['id']}.json").strip() == "600"
    # A run that changed nothing leaves a small record, and none of its own as a change.
    assert place.deploy(SMALL, DEPLOY, "--data", "value=nine", "--limit", "db") == {"db": []}
    again = json.loads(place.run("fleet", "history", SMALL, "--json", "-n", "1").stdout)[0]
    assert again["droplets"]["db"]["changes"] == []
