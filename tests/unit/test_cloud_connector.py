"""pyinfra itself with @droplet/NAME against the lab's API: nothing is created unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smallfleet import Fleet
from smallfleet.cloud.survey import survey
from tests.unit.test_cloud_create import TOKEN, client_of, complete, fleet, lab
from tests.unit.test_lab_api import Lab

__all__ = ["fleet", "lab"]  # fixtures

INVENTORY = """
from smallfleet import Droplet, Fleet
fleet = Fleet(name="small", vpc="10.116.0.0/24", domain="example.com", ssh_keys=["key.pub"],
    end_point="{end_point}", known_hosts="known_hosts", roles_directory="{roles}",
    droplets=[Droplet("podcast", size="s-1vcpu-1gb", roles=["podcast"]),
              Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"])])
web = [("@droplet/" + d.name, {{"fleet": fleet, "droplet": d}}) for d in fleet.droplets]
"""
DEPLOY = """
from pyinfra import host
from pyinfra.operations import files, server
assert host.connector.addresses()["mongo"]["public"] == "0.0.0.0"
files.directory(name="A directory", path="/srv/made")
server.shell(name="A command", commands=["true"])
"""


@pytest.fixture
def owner(tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = INVENTORY.format(end_point=fleet.end_point, roles=fleet.roles_directory)
    (tmp_path / "small.py").write_text(text)
    (tmp_path / "deploy.py").write_text(DEPLOY)
    monkeypatch.setenv("DIGITALOCEAN_ACCESS_TOKEN", TOKEN)
    return tmp_path


def pyinfra(owner: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "pyinfra"), "small.py", "deploy.py", *words],
        cwd=owner,
        env={**os.environ, "PYINFRA_PROGRESS": "off", "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert TOKEN not in done.stdout
    return done.returncode, done.stdout


def test_dry_shows_what_would_be_created_and_planned(owner: Path, fleet: Fleet, lab: Lab) -> None:
    status, said = pyinfra(owner, "--dry")
    assert status == 0, said
    assert "18.00" in said and "A directory" in said and "A command" in said
    assert said.count("To be created") == 1
    assert not survey(client_of(fleet), fleet).droplets and not lab.machines.specs


def test_without_an_answer_nothing_is_created(owner: Path, fleet: Fleet, lab: Lab) -> None:
    status, said = pyinfra(owner)
    assert status != 0 and "give -y" in said and "Traceback" not in said
    assert not lab.machines.specs


def test_limit_plans_only_the_droplets_in_it(owner: Path, lab: Lab) -> None:
    status, said = pyinfra(owner, "--dry", "--limit", "mongo")
    assert status == 0, said
    assert "12.00" in said and "18.00" not in said


def test_a_fault_of_the_account_is_said_once_without_traceback(owner: Path, fleet: Fleet, lab: Lab) -> None:
    complete(fleet)
    other = fleet.model_copy(update={"vpc": "10.9.0.0/24"})
    text = (owner / "small.py").read_text().replace(fleet.vpc, other.vpc)
    (owner / "small.py").write_text(text)
    status, said = pyinfra(owner, "-y")
    assert status != 0 and said.count("cannot be changed") == 1 and "Traceback" not in said, said
