"""Where the last run found the droplets: what is kept of them, and when it is not to be relied on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smallfleet import Fleet
from smallfleet.cloud.hostkeys import pin
from smallfleet.connector import remembered
from smallfleet.connector.run import Run
from tests.unit.test_cloud_create import fleet, lab

__all__ = ["fleet", "lab"]  # fixtures

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJc4mYDeLzvXBLDkYBQGTpfxjGDPQ9sBKTH4F9c5NqUM"


def droplet(name: str, id: int, address: str) -> dict[str, Any]:
    v4 = [{"type": "public", "ip_address": address, "netmask": "255.255.255.0", "gateway": "192.0.2.1"}]
    return {"id": id, "name": name, "status": "active", "networks": {"v4": v4}, "memory": 1024}


@pytest.fixture
def known(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """All of the fleet's droplets, pinned and remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    droplets = {
        one.name: droplet(one.name, number, f"192.0.2.{number}")
        for number, one in enumerate(fleet.droplets, start=10)
    }
    for name, one in droplets.items():
        pin(fleet.known_hosts, f"192.0.2.{one['id']}", f"{KEY}{one['id']}", name, one["id"])
    remembered.save(fleet, droplets)
    return droplets


def test_what_the_last_run_found_is_found_again(fleet: Fleet, known: dict[str, dict[str, Any]]) -> None:
    found = remembered.load(fleet)
    assert found is not None and set(found) == set(known)
    run = Run(fleet, dry=True, yes=False, needs_account=False)
    name = fleet.droplets[0].name
    assert run.address_of(name, {name}) == f"192.0.2.{known[name]['id']}"
    assert run.addresses()[name]["private"] == "0.0.0.0"


def test_it_is_for_the_owner_alone(fleet: Fleet, known: dict[str, dict[str, Any]]) -> None:
    file = remembered._path(fleet)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    assert remembered.load(fleet) is None


def test_a_droplet_whose_key_is_not_pinned_is_asked_for(
    fleet: Fleet, known: dict[str, dict[str, Any]]
) -> None:
    lines = fleet.known_hosts.read_text().splitlines()
    fleet.known_hosts.write_text("\n".join(lines[1:]) + "\n")
    assert remembered.load(fleet) is None


def test_a_droplet_that_nobody_has_seen_is_asked_for(fleet: Fleet, known: dict[str, dict[str, Any]]) -> None:
    known.popitem()
    remembered.save(fleet, known)
    assert remembered.load(fleet) is None


def test_one_that_does_not_answer_is_asked_for(
    fleet: Fleet, known: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(fleet, dry=True, yes=False, needs_account=False)
    first, second = (known[one.name] for one in fleet.droplets[:2])
    run.address_of(first["name"], {first["name"]})
    now = {first["name"]: droplet(first["name"], first["id"], "192.0.2.99"), second["name"]: second}
    asked = []
    monkeypatch.setattr(run, "_ask_anew", lambda: asked.append(1) or now)
    assert run.moved(first) == now[first["name"]]
    assert run.moved(second) is None, "it is where it was"
    assert len(asked) == 1, "asked once a run"


def test_only_a_script_that_says_so_does_without_the_account(tmp_path: Path) -> None:
    yes, no, broken = (tmp_path / f"{name}.py" for name in ("yes", "no", "broken"))
    yes.write_text('"""Creates nothing."""\nNEEDS_ACCOUNT = False\n')
    no.write_text("NEEDS_ACCOUNT = bool(0)\n")
    broken.write_text("NEEDS_ACCOUNT = False\n)")
    assert not remembered.needs_account([str(yes)])
    for scripts in ([], [str(yes), str(no)], [str(broken)], [str(tmp_path / "none.py")], ["exec"]):
        assert remembered.needs_account(scripts), scripts
    assert not remembered.needs_account(["deploys/rollback.py"])
    assert remembered.needs_account(["deploys/site.py"])
