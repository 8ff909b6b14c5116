"""Whose turn it is and what a run did: the claim against the lab's API, the keeper as a process, records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smallfleet import Fleet, FleetError, programs
from smallfleet.cloud import claim
from smallfleet.cloud.claim import Claim, Claimed
from smallfleet.runs import note as notes
from smallfleet.runs.note import begin, said, turn_of
from smallfleet.runs.record import masked
from smallfleet.runs.remote import merged
from smallfleet.runs.session import changes_something
from smallfleet.secrets import Secret
from tests.unit.test_cloud_create import client_of, fleet, lab
from tests.unit.test_lab_api import Lab

__all__ = ["fleet", "lab"]  # fixtures


def note(id: str = "20260101T000000Z-aaaaaa", **more: Any) -> dict[str, Any]:
    return {
        **{
            "id": id,
            "fleet": "small",
            "who": "anna@laptop",
            "command": "pyinfra x",
            "began": "2026-01-01T00:00:00Z",
        },
        **{"limit": [], "ended": None, "seconds": None, "result": None, "droplets": {}, **more},
    }


# The claim.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "beat_of", lambda client: (0.1, 1.5))


@pytest.mark.usefixtures("lab", "quick")
def test_a_living_claim_is_refused_with_whose_it_is(fleet: Fleet) -> None:
    with Claim(client_of(fleet), fleet, note("first")):
        with pytest.raises(Claimed) as refused, Claim(client_of(fleet), fleet, note("second")):
            pass
        assert refused.value.note["who"] == "anna@laptop" and refused.value.note["id"] == "first"
        assert len(claim.find(client_of(fleet), fleet)) == 1
    assert not claim.find(client_of(fleet), fleet)


@pytest.mark.usefixtures("lab", "quick")
def test_a_dead_runs_claim_is_taken_over(fleet: Fleet) -> None:
    client = client_of(fleet)
    body = {"name": "smallfleet-small-lock", "purpose": "x", "description": json.dumps(note("dead"))[:255]}
    client.post("projects", body)
    with Claim(client_of(fleet), fleet, note("next")):
        assert [claim.note_in(p)["id"] for p in claim.find(client, fleet)] == ["next"]


@pytest.mark.usefixtures("lab", "quick")
def test_a_broken_claim_stops_what_is_written_under_it(fleet: Fleet) -> None:
    client, other = client_of(fleet), client_of(fleet)
    with Claim(client, fleet, note("first")) as held:
        other.delete(f"projects/{claim.find(other, fleet)[0]['id']}")
        end = time.monotonic() + 10
        while not held._lost and time.monotonic() < end:
            time.sleep(0.05)
        with pytest.raises(FleetError, match="was broken"):
            client.post("tags", {"name": "late"})
    assert "late" not in [tag["name"] for tag in other.get("tags")["tags"]]


@pytest.mark.usefixtures("quick")
def test_a_token_without_the_right_is_told(fleet: Fleet, lab: Lab) -> None:
    lab.ask("POST", "/lab/faults", method="POST", path="projects", status=403)
    with pytest.raises(FleetError, match="right to create projects"), Claim(client_of(fleet), fleet, note()):
        pass


# The keeper.


class Kept:
    """The keeper as a process here, with its lock and records in a directory."""

    def __init__(self, room: Path, asked: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", programs.path("run_keeper").read_text()],
            env={
                **os.environ,
                "RUN_KEEPER_LOCK": str(room / "lock"),
                "RUN_KEEPER_RECORDS": str(room / "runs"),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.answer = self.say(asked)

    def say(self, line: dict[str, Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(line) + "\n")
        for answer in self.process.stdout:
            if answer != ".\n":
                return json.loads(answer)
        return None

    def cut(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def records(room: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in (room / "runs").glob("*.json")}


def test_one_keeps_the_lock_and_its_record_to_the_end(room: Path) -> None:
    first = Kept(room, {"keep": note("first"), "lock": True})
    assert first.answer == {"kept": True, "dead": None}
    assert records(room)["first"]["result"] is None
    busy = Kept(room, {"keep": note("second"), "lock": True}).answer
    assert busy["busy"]["id"] == "first" and busy["busy"]["who"] == "anna@laptop"
    assert Kept(room, {"status": True}).answer["alive"]
    assert first.say(note("first", result="done", seconds=3)) == {"ended": True}
    assert Kept(room, {"status": True}).answer == {"note": None, "alive": False}
    assert list(records(room)) == ["first"] and records(room)["first"]["result"] == "done"
    assert (room / "runs/first.json").stat().st_mode & 0o777 == 0o600


def test_a_record_of_megabytes_is_kept_whole(room: Path) -> None:
    """All diffs of many droplets. A program that reads it byte by byte takes longer than anybody waits."""
    first = Kept(room, {"keep": note("first"), "lock": True})
    assert first.say(note("first", result="done", diff="x" * 8_000_000)) == {"ended": True}
    assert len(records(room)["first"]["diff"]) == 8_000_000
    assert Kept(room, {"status": True}).answer == {"note": None, "alive": False}


@pytest.mark.parametrize("how", ["hung up", "killed"])
def test_a_run_that_was_cut_off_blocks_nobody_and_is_told(room: Path, how: str) -> None:
    first = Kept(room, {"keep": note("first"), "lock": True})
    if how == "hung up":
        first.cut()
    else:
        first.process.kill()
        first.process.wait()
    told = Kept(room, {"status": True}).answer
    assert not told["alive"] and told["note"]["id"] == "first"
    second = Kept(room, {"keep": note("second"), "lock": True})
    assert second.answer["dead"]["id"] == "first"
    assert records(room)["first"]["result"] == "cut off"
    second.cut()


def test_a_broken_lock_is_free_and_its_run_cannot_take_it_again(room: Path) -> None:
    first = Kept(room, {"keep": note("first"), "lock": True})
    released = Kept(room, {"release": "ben@desk"}).answer
    assert released["alive"] and released["released"]["id"] == "first"
    first.process.wait(60)
    assert records(room)["first"]["result"] == "stopped: ben@desk broke the lock"
    assert Kept(room, {"keep": note("first"), "lock": True}).answer == {"broken": "ben@desk broke the lock"}
    assert Kept(room, {"keep": note("second"), "lock": True}).answer["kept"]


def test_a_run_that_was_away_goes_on_unless_another_had_its_turn(room: Path) -> None:
    Kept(room, {"keep": note("first"), "lock": True}).cut()
    first = Kept(room, {"keep": note("first"), "lock": True})
    assert first.answer == {"kept": True, "dead": None}
    first.cut()
    Kept(room, {"keep": note("another"), "lock": True}).say(note("another", result="done"))
    assert "another run had its turn" in Kept(room, {"keep": note("first"), "lock": True}).answer["broken"]


def test_a_run_that_was_refused_elsewhere_leaves_no_record(room: Path) -> None:
    first = Kept(room, {"keep": note("first"), "lock": True})
    first.say({"refused": True})
    assert not records(room)


def test_old_records_go(room: Path) -> None:
    (room / "runs").mkdir()
    for number in range(205):
        (room / f"runs/20250101T{number:06}Z-a.json").write_text(json.dumps(note(f"20250101T{number:06}Z-a")))
    Kept(room, {"keep": note("20260101T000000Z-b"), "lock": False}).cut()
    assert len(records(room)) == 200 and "20260101T000000Z-b" in records(room)
    assert [r["id"] for r in Kept(room, {"read": 2}).answer] == ["20260101T000000Z-b", "20250101T000204Z-a"]


def test_a_record_cannot_leave_its_directory(room: Path) -> None:
    assert Kept(room, {"keep": note("../../etc/x"), "lock": False}).answer is None
    assert not (room / "runs").exists()


# Records and notes.


def test_a_command_line_is_told_without_its_secrets() -> None:
    words = ["pyinfra", "x.py", "y.py", "--ssh-password", "hunter2", "--data", "api_token=abc", "--data=a b"]
    assert said(words) == "pyinfra x.py y.py --ssh-password (secret) --data api_token=(secret) '--data=a b'"


def test_a_record_is_masked() -> None:
    record = note(droplets={"web": {"changes": [{"operation": "a", "diff": ["+ password hunter22"]}]}})
    hidden = masked(record, [Secret("hunter22"), Secret("a")])
    assert hidden["droplets"]["web"]["changes"][0]["diff"] == ["+ password (secret)"]
    assert hidden["who"] == "anna@laptop"


def test_a_note_says_whose_turn_it_is(fleet: Fleet) -> None:
    told = turn_of(begin(fleet, ["pyinfra", "x.py", "deploys/site.py"], ["web"]))
    assert "@" in told and "pyinfra x.py deploys/site.py" in told and ", for " in told


def test_runs_of_one_second_are_in_the_order_of_their_beginnings(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon, ids = datetime(2026, 1, 1, 12, tzinfo=UTC), []
    for milliseconds in range(0, 1100, 20):
        began = noon + timedelta(milliseconds=milliseconds)
        monkeypatch.setattr(notes, "now", lambda began=began: began)
        ids.append(begin(fleet, [], [])["id"])
    assert ids == sorted(ids) and ids[0].startswith("20260101T120000Z-000")
    assert [run["id"] for run in merged({"web": [note(id) for id in ids]})] == ids[::-1]


def test_what_droplets_remember_is_one_record_for_each_run() -> None:
    whole = note(
        "2",
        result="done",
        seconds=4,
        droplets={"web": {"changes": [1], "result": "done"}, "db": {"changes": []}},
    )
    runs = merged(
        {
            "web": [whole, note("1", result="cut off", ended="x")],
            "db": [note("2", result="cut off", droplets={"db": {"changes": [3]}})],
            "cache": [note("3")],
        }
    )
    assert [run["id"] for run in runs] == ["3", "2", "1"]
    assert runs[1]["result"] == "done" and runs[1]["droplets"]["db"] == {"changes": [3]}
    assert runs[0]["result"] is None


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"operations": ("a.py",), "yes": True}, True),
        ({"operations": ("a.py",)}, True),
        ({"operations": ("exec", "--", "x"), "json_output": True}, True),
        ({"operations": ("a.py",), "dry": True, "yes": True}, False),
        ({"operations": ("a.py",), "json_output": True}, False),
        ({"operations": ("fact", "server.Uptime"), "yes": True}, False),
        ({}, True),
    ],
)
def test_only_a_run_that_may_change_something_takes_a_turn(options: dict[str, Any], changes: bool) -> None:
    assert changes_something(options) is changes
