"""A run's turn on droplets that are SSH servers in this process: what waits for it, and what it costs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from smallfleet.runs import lines
from smallfleet.runs.note import begin
from smallfleet.runs.session import session_of
from smallfleet.runs.ssh import Unreached
from smallfleet.runs.turn import Turn
from tests.unit.sshd import KEY, Sshd
from tests.unit.test_cloud_create import fleet, lab
from tests.unit.test_runs import Kept, note, records

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
    try:
        client.connect("127.0.0.1", sshd.port, "root", pkey=KEY, look_for_keys=False, allow_agent=False)
    except (OSError, paramiko.SSHException) as error:
        raise Unreached(str(error)) from None
    return client


@pytest.fixture
def sshds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Sshd]]:
    """Each droplet's server; its lock and records are in the directory of its name."""
    sshds = {}
    for name in NAMES:
        room = tmp_path / name
        room.mkdir()
        sshds[name] = Sshd(RUN_KEEPER_LOCK=str(room / "lock"), RUN_KEEPER_RECORDS=str(room / "runs"))
    monkeypatch.setattr(lines, "connect", lambda fleet, droplet, *more: login(sshds[droplet["name"]]))
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


def locked(tmp_path: Path) -> list[bool]:
    """Whether a living run has the lock, on each of NAMES."""
    return [Kept(tmp_path / name, {"status": True}).answer["alive"] for name in NAMES]


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
    assert locked(tmp_path) == [True, True]
    session_of(state, None).end()
    sshds["podcast"].close()
    assert asked.exists()


# What it costs.


@pytest.fixture
def own_turn(fleet: Fleet) -> Turn:
    return Turn(fleet, begin(fleet, ["pyinfra"], NAMES), lambda text: None)


def taken(turn: Turn, sshds: dict[str, Sshd], *names: str, failed: str = "") -> dict[str, paramiko.SSHClient]:
    """pyinfra's connections to `names`, once the turn is taken; to `failed` it logs in in vain."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(turn.login(name))
        turn.start(DROPLETS)  # it waits for these logins
        if failed:
            with turn.login(failed):
                pass
        clients = {name: login(sshds[name]) for name in names}
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(turn.ready, clients, clients.values()))
            list(pool.map(turn.join, clients, clients.values()))
    return clients


def test_the_lock_is_kept_in_pyinfras_own_connections(
    tmp_path: Path, own_turn: Turn, sshds: dict[str, Sshd]
) -> None:
    clients = taken(own_turn, sshds, *NAMES)
    assert locked(tmp_path) == [True, True]
    assert [sshds[name].logins for name in NAMES] == [1, 1]
    assert [len(sshds[name].commands) for name in NAMES] == [1, 1], "the lock's program keeps the record, too"
    own_turn.end({**own_turn.note, "result": "done"})
    assert locked(tmp_path) == [False, False]
    assert all(records(tmp_path / name)[own_turn.note["id"]]["result"] == "done" for name in NAMES)
    for client in clients.values():
        transport = client.get_transport()
        assert transport and transport.is_active(), "they are pyinfra's to end"
        client.close()


@pytest.mark.parametrize("failed", ["", "mongo"], ids=["not in the run", "its login fails"])
def test_where_pyinfra_has_no_connection_the_lock_has_its_own(
    tmp_path: Path, own_turn: Turn, sshds: dict[str, Sshd], failed: str
) -> None:
    clients = taken(own_turn, sshds, "podcast", failed=failed)
    assert locked(tmp_path) == [True, True]
    assert [sshds[name].logins for name in NAMES] == [1, 1]
    own_turn.end({**own_turn.note, "result": "done"})
    assert locked(tmp_path) == [False, False]
    clients["podcast"].close()


def test_a_lock_that_was_lost_with_pyinfras_connection_is_taken_again(
    tmp_path: Path, own_turn: Turn, sshds: dict[str, Sshd]
) -> None:
    clients = taken(own_turn, sshds, *NAMES)
    sshds["mongo"].cut()
    end = time.monotonic() + 30
    while locked(tmp_path) != [True, True] or sshds["mongo"].logins < 2:
        assert time.monotonic() < end
    own_turn.check()
    assert sshds["podcast"].logins == 1
    own_turn.end({**own_turn.note, "result": "done"})
    assert records(tmp_path / "mongo")[own_turn.note["id"]]["result"] == "done"
    for client in clients.values():
        client.close()


def test_who_takes_the_turn_in_the_foreground_waits_for_no_login(
    tmp_path: Path, own_turn: Turn, sshds: dict[str, Sshd]
) -> None:
    with own_turn.login("podcast"), own_turn.login("mongo"):
        own_turn.take(DROPLETS)
        assert locked(tmp_path) == [True, True]
        client = login(sshds["mongo"])
        own_turn.ready("mongo", client)
        own_turn.join("mongo", client)
    own_turn.end({**own_turn.note, "result": "done"})
    assert locked(tmp_path) == [False, False]
    client.close()


def test_a_droplet_that_has_moved_is_locked_where_it_is(
    tmp_path: Path, own_turn: Turn, sshds: dict[str, Sshd], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = lines.connect

    def connect(fleet: Fleet, droplet: dict[str, Any], *more: Any) -> paramiko.SSHClient:
        if droplet["id"] == DROPLETS["mongo"]["id"]:
            raise Unreached("nobody is there")
        return there(fleet, droplet, *more)

    monkeypatch.setattr(lines, "connect", connect)
    own_turn.take(DROPLETS, elsewhere=lambda droplet: {**droplet, "id": 7})
    assert locked(tmp_path) == [True, True]
    own_turn.end({**own_turn.note, "result": "done"})


def test_a_connection_of_pyinfras_that_is_dead_is_of_no_use(
    tmp_path: Path, own_turn: Turn, sshds: dict[str, Sshd]
) -> None:
    client = login(sshds["mongo"])
    client.close()
    with own_turn.login("mongo"):
        own_turn.start(DROPLETS)
        own_turn.ready("mongo", client)
    own_turn.join("mongo", client)
    assert locked(tmp_path) == [True, True] and sshds["mongo"].logins == 2
    own_turn.end({**own_turn.note, "result": "done"})
