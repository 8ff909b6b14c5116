"""A fleet that does not exist yet is planned whole, against the lab's API, and nothing of it is created."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from smallfleet.plan.model import Plan
from smallfleet.secrets import Secrets
from tests.unit.test_cloud_create import TOKEN, lab
from tests.unit.test_lab_api import Lab
from tests.unit.test_secrets import write_key

__all__ = ["lab"]  # a fixture

PROJECT = Path(__file__).resolve().parents[2]
INVENTORY = """
from smallfleet import Droplet, Fleet
fleet = Fleet(name="small", vpc="10.116.0.0/24", domain="example.com", ssh_keys=["key.pub"], ssh_key="key",
    end_point="{end_point}", known_hosts="known_hosts", secrets_file="secrets.age", roles_directory="roles",
    droplets=[Droplet("podcast", size="s-1vcpu-1gb", roles=["podcast"]),
              Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"])])
globals().update(fleet.groups())
"""


@pytest.fixture
def owner(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    for room in ("deploys", "roles", "templates"):
        shutil.copytree(PROJECT / room, tmp_path / room)
    write_key(tmp_path / "key", ed25519.Ed25519PrivateKey.generate())
    (tmp_path / "small.py").write_text(INVENTORY.format(end_point=os.environ["DIGITALOCEAN_END_POINT"]))
    monkeypatch.setenv("DIGITALOCEAN_ACCESS_TOKEN", TOKEN)
    return tmp_path


def run(owner: Path, *words: str, program: str = "fleet") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words],
        cwd=owner,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_new_fleet_has_a_complete_plan(owner: Path, lab: Lab) -> None:
    assert run(owner, "secrets", "generate", "small.py").returncode == 0
    made = run(owner, "plan", "small.py", "deploys/site.py", "--format", "json", "--exit-code")
    assert made.returncode == 2, made.stderr
    plan = Plan.model_validate(json.loads(made.stdout))
    assert {droplet.name: droplet.exists for droplet in plan.droplets} == {"podcast": False, "mongo": False}
    said = {droplet.name: " ".join(one.name for one in droplet.operations) for droplet in plan.droplets}
    assert "Web app: release" in said["podcast"] and "NGINX: nginx.conf" in said["podcast"]
    assert "Make MongoDB's users" in said["mongo"] and "Install MongoDB" in said["mongo"]
    assert plan.cloud.monthly_now == 0 and plan.cloud.monthly_change == 18
    assert {droplet.name for droplet in plan.cloud.droplets} == {"podcast", "mongo"}
    assert any(rule.rule.startswith("tcp 22 from") for rule in plan.cloud.firewall)
    assert not plan.errors and not lab.machines.specs, "nothing is created"
    secrets = Secrets.open(owner / "secrets.age", [owner / "key"])
    assert not [name for name in secrets if secrets[name].reveal().strip() in made.stdout + made.stderr]


def test_mistakes_are_one_message(owner: Path) -> None:
    (owner / "deploys/broken.py").write_text("from pyinfra import host\nhost.nothing\n")
    assert run(owner, "secrets", "generate", "small.py").returncode == 0
    broken = run(owner, "plan", "small.py", "deploys/broken.py")
    assert broken.returncode == 1 and "broken.py" in broken.stderr and "Traceback" not in broken.stderr
    missing = run(owner, "plan", "small.py", "deploys/none.py")
    assert missing.returncode == 1 and "there is no deploy" in missing.stderr
    nobody = run(owner, "plan", "small.py", "--limit", "nobody")
    assert nobody.returncode == 1 and "nobody" in nobody.stderr
    (owner / "saved.json").write_text('{"version": 7}')
    other = run(owner, "apply", "saved.json")
    assert other.returncode == 1 and "no plan that this version reads" in other.stderr


def test_a_dry_run_of_a_new_fleet_comes_to_its_end(owner: Path, lab: Lab) -> None:
    assert run(owner, "secrets", "generate", "small.py").returncode == 0
    done = run(owner, "small.py", "deploys/site.py", "--dry", program="pyinfra")
    assert done.returncode == 0, done.stderr
    assert "Set the firewall's rules" in done.stdout + done.stderr
    assert not lab.machines.specs, "nothing is created"
