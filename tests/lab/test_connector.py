"""Facts asked in one shell and ahead of time, against pyinfra's own SSH: the same, and never a stale one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import BIN, INSTALLED, Workplace, workplace

FLEET = "pair"
NAMES = ["podcast", "mongo"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """Two bare droplets."""
    with workplace(tmp_path_factory.mktemp("connector"), INSTALLED) as place:
        place.write_inventory(FLEET, {"podcast": ["podcast"], "mongo": ["mongodb"]})
        for script in (Path(__file__).parent / "connector").glob("*.py"):
            shutil.copy(script, place.directory)
        (place.directory / "bytes").write_bytes(bytes(range(256)) * 4096)
        place.run("pyinfra", f"inventory/{FLEET}.py", "exec", "-y", "--", "true")
        yield place


def seen(place: Workplace, deploy: str, monkeypatch: pytest.MonkeyPatch, how: str, *words: str) -> dict:
    """What a run of the deploy saw, by host; `how` is plain or fast. Also its operations, and the counts."""
    wrote, counts = place.directory / "seen.jsonl", place.directory / "counts.jsonl"
    for path in (wrote, counts, *place.directory.glob("bytes.*")):
        path.unlink(missing_ok=True)
    monkeypatch.setenv("SEEN", str(wrote))
    monkeypatch.setenv("BINARY", str(place.directory / "bytes"))
    monkeypatch.setenv("SMALLFLEET_CONNECTOR", how)
    monkeypatch.setenv("SMALLFLEET_CONNECTOR_COUNTS", str(counts))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.directory / "cache"))
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    done = place.run("pyinfra", "--json", f"inventory/{FLEET}.py", deploy, *words)
    lines = [json.loads(line) for line in wrote.read_text().splitlines()]
    printed = json.loads(done.stdout[done.stdout.index("{") :])
    return {
        "seen": {name: [line[1:] for line in lines if line[0] == name] for name in NAMES},
        "operations": [
            {**one, "hosts": None, **{key: sorted(one[key]) for key in one if isinstance(one[key], list)}}
            for one in (printed["results"]["operations"] if printed["results"] else printed["plan"])
        ],
        "counts": {
            one.pop("host"): one for one in map(json.loads, counts.read_text().splitlines() or ["{}"]) if one
        },
    }


def test_all_kinds_of_commands_give_what_plain_ssh_gives(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = seen(place, "kinds.py", monkeypatch, "plain", "-y")
    assert len(plain["seen"][NAMES[0]]) > 60
    learning = seen(place, "kinds.py", monkeypatch, "fast", "-y")
    ahead = seen(place, "kinds.py", monkeypatch, "fast", "-y")
    for fast in (learning, ahead):
        for name in NAMES:
            for ours, theirs in zip(fast["seen"][name], plain["seen"][name], strict=True):
                assert ours == theirs, ours[1]
        for ours, theirs in zip(fast["operations"], plain["operations"], strict=True):
            assert ours == theirs, (ours, theirs)
    assert plain["counts"][NAMES[0]]["trips"] == 0
    assert 0 < ahead["counts"][NAMES[0]]["trips"] < learning["counts"][NAMES[0]]["trips"]
    there = bytes(range(256)) * 4096
    assert all((place.directory / f"bytes.{name}").read_bytes() == there for name in NAMES)


def test_no_answer_is_stale(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run("pyinfra", f"inventory/{FLEET}.py", "exec", "-y", "--", "printf zero > /srv/seen")
    plain = seen(place, "stale.py", monkeypatch, "plain", "-y")
    for _ in range(2):  # while it learns, and with all asked ahead
        place.run("pyinfra", f"inventory/{FLEET}.py", "exec", "-y", "--", "printf zero > /srv/seen")
        fast = seen(place, "stale.py", monkeypatch, "fast", "-y")
        assert fast["seen"] == plain["seen"]
        assert fast["operations"] == plain["operations"]


def test_the_plan_is_that_of_plain_ssh(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = seen(place, "kinds.py", monkeypatch, "plain", "--dry")
    learning = seen(place, "kinds.py", monkeypatch, "fast", "--dry")
    fast = seen(place, "kinds.py", monkeypatch, "fast", "--dry")
    assert fast["operations"] == learning["operations"] == plain["operations"]
    for name in NAMES:
        # Not what the runs themselves add to: that grows with each.
        facts = [
            [one for one in run["seen"][name] if "log" not in str(one)] for run in (fast, learning, plain)
        ]
        assert facts[0] == facts[1] == facts[2] != []


def test_what_is_kept_is_for_the_owner_alone(place: Workplace) -> None:
    cache = place.directory / "cache/smallfleet/asked"
    kept = list(cache.iterdir())
    assert kept and all(path.stat().st_mode & 0o777 == 0o600 for path in kept)
    text = "".join(path.read_text() for path in kept)
    assert "cat" in text and "two words" not in text, "a command with an environment is not kept"
    assert not subprocess.run(["grep", "-r", "elsewhere", str(cache)], capture_output=True).stdout
    assert Path(cache).stat().st_mode & 0o077 == 0


def test_any_host_of_pyinfra_can_be_asked_so(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab.load(place.lab)
    address = place.ssh(NAMES[0], "ip -4 -o address show dev eth0").split()[3].split("/")[0]
    data = {"ssh_user": "root", "ssh_key": lab.ssh_key, "ssh_known_hosts_file": lab.known_hosts}
    (place.directory / "any.py").write_text(f"hosts = [('@fastssh/{address}', {data!r})]\n")
    counts = place.directory / "any.jsonl"
    monkeypatch.setenv("SMALLFLEET_CONNECTOR_COUNTS", str(counts))
    for words in ([], ["--data", "ssh_fast=false"]):
        said = place.run("pyinfra", "any.py", *words, "fact", "server.Hostname")
        assert NAMES[0] in said.stdout + said.stderr
    fast, plain = (json.loads(line) for line in counts.read_text().splitlines())
    assert fast["trips"] == 1 and fast["plain"] == 0
    assert plain["trips"] == 0 and plain["plain"] == 1
