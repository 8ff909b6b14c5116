"""A run's turn on droplets that are SSH servers in this process: what waits for it, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import ConnectError

from smallfleet import Fleet
from smallfleet.connector import DropletConnector
from smallfleet.connector.memory import Memory
from smallfleet.connector.run import Run
from smallfleet.runs import turn
from smallfleet.runs.session import session_of
from tests.unit.sshd import KEY, Sshd
from tests.unit.test_cloud_create import fleet, lab
from tests.unit.test_runs import Kept, note

__all__ = ["fleet", "lab"]  # fixtures

NAMES = ("podcast", "mongo")  # both hold the lock
DROPLETS = {
    name: {
        "id": number,
        "name": name,
        "status": "active",
        "networks": {"v4": [{"type": "public", "ip_address": "127.0.0.1"}]},
    }
    for number, name in enumerate(NAMES)
}


def login(sshd: Sshd) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", sshd.port, "root", pkey=KEY, look_for_keys=False, allow_agent=False)
    return client


@pytest.fixture
def sshds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Sshd]]:
    """Each droplet's server; its lock and records are in the directory of its name."""
    sshds = {}
    for name in NAMES:
        room = tmp_path / name
        room.mkdir()
        sshds[name] = Sshd(RUN_KEEPER_LOCK=str(room / "lock"), RUN_KEEPER_RECORDS=str(room / "runs"))
    monkeypatch.setattr(turn, "connect", lambda fleet, droplet, key: login(sshds[droplet["name"]]))
    yield sshds
    for sshd in sshds.values():
        sshd.close()


@pytest.fixture
def state(
    tmp_path: Path, fleet: Fleet, sshds: dict[str, Sshd], monkeypatch: pytest.MonkeyPatch
) -> Iterator[State]:
    """pyinfra's, for a run on the fleet that the last run left as it is."""

    def complete(self: Run, limit: set[str]) -> dict[str, Any]:
        assert self.turn
        self.turn.start(DROPLETS)
        return DROPLETS

    monkeypatch.setattr(Run, "_complete", complete)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    KEY.write_private_key_file(str(fleet.ssh_key))
    data = {
        "fleet": fleet,
        "ssh_user": "root",
        "ssh_key": str(fleet.ssh_key),
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": str(tmp_path / "known"),
    }
    hosts = [(f"@droplet/{name}", {**data, "ssh_port": sshds[name].port}) for name in NAMES]
    state = State(Inventory((hosts, {})), Config())
    yield state
    session_of(state, None).end()


def connector_that_knows(state: State, name: str, *commands: str) -> DropletConnector:
    """The droplet's, for a run whose like has asked `commands` before."""
    connector = state.inventory.get_host(name).connector
    assert isinstance(connector, DropletConnector)
    connector._memory = Memory(connector._changes, list(commands))
    return connector


# What waits for it.


def test_nothing_is_asked_while_another_run_has_its_turn(
    tmp_path: Path, state: State, sshds: dict[str, Sshd]
) -> None:
    other = Kept(tmp_path / "podcast", {"keep": note("other"), "lock": True})
    assert other.answer["kept"]
    asked = tmp_path / "asked"
    connector = connector_that_knows(state, "podcast", f"touch {asked}")
    with pytest.raises(ConnectError, match="it is the turn of anna@laptop"):
        connector.connect()
    sshds["podcast"].close()  # what was sent to it is done now
    assert not asked.exists()
    other.cut()


def test_what_the_last_run_asked_is_asked_once_the_turn_is_taken(
    tmp_path: Path, state: State, sshds: dict[str, Sshd]
) -> None:
    asked = tmp_path / "asked"
    connector = connector_that_knows(state, "podcast", f"touch {asked}")
    connector.connect()
    locks = [Kept(tmp_path / name, {"status": True}).answer for name in NAMES]
    assert all(lock["alive"] for lock in locks)
    sshds["podcast"].close()
    assert asked.exists()
