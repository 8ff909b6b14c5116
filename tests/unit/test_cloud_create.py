"""A fleet made in the lab's API over loopback: whole, cut off at each call, through faults, corrected."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from rich.console import Console

from smallfleet import Droplet, Firewall, Fleet, FleetError
from smallfleet.cloud import transport
from smallfleet.cloud.client import Client, CloudError
from smallfleet.cloud.create import carry_out, destroy_fleet
from smallfleet.cloud.hostkeys import pin, pinned
from smallfleet.cloud.plan import Plan, plan
from smallfleet.cloud.survey import survey
from smallfleet.secrets import Secret
from tests.unit.test_lab_api import TOKEN, Lab

ROLES = Path(__file__).resolve().parents[2] / "roles"


class Cut(BaseException):
    """The run is killed."""


class CutClient(Client):
    """Killed right after (or before) its write number `at` has been done."""

    def __init__(self, end_point: str, at: int, done: bool) -> None:
        super().__init__(end_point, Secret(TOKEN), pause=0.01)
        self.left, self.done = at, done

    def _call(self, method: str, path: str, params: dict[str, Any]) -> Any:
        if method == "GET":
            return super()._call(method, path, params)
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.done):
            raise Cut
        answer = super()._call(method, path, params)
        if self.left == 0:
            raise Cut
        return answer


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("DIGITALOCEAN_END_POINT", "")
    lab = Lab(tmp_path / "state.json")
    yield lab
    lab.down()


@pytest.fixture
def fleet(tmp_path: Path, lab: Lab) -> Fleet:
    key = paramiko.ECDSAKey.generate()
    (tmp_path / "key.pub").write_text(f"{key.get_name()} {key.get_base64()} owner\n")
    return Fleet(
        name="small",
        vpc="10.116.0.0/24",
        domain="example.com",
        ssh_keys=[tmp_path / "key.pub"],
        end_point=os.environ["DIGITALOCEAN_END_POINT"],
        known_hosts=tmp_path / "known_hosts",
        roles_directory=ROLES,
        droplets=[
            Droplet("podcast", size="s-1vcpu-1gb", roles=["podcast"]),
            Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"]),
        ],
    )


def client_of(fleet: Fleet) -> Client:
    return Client(fleet.end_point, Secret(TOKEN), pause=0.01)


def complete(fleet: Fleet, client: Client | None = None) -> tuple[Plan, list[str]]:
    """Survey, plan, carry out; the plan and what was said."""
    client = client or client_of(fleet)
    found, said = survey(client, fleet), list[str]()
    todo = plan(fleet, found)
    carry_out(client, fleet, found, todo, said.append)
    return todo, said


def whole(fleet: Fleet) -> None:
    """All is there once, and nothing is left to do."""
    client = client_of(fleet)
    assert plan(fleet, survey(client, fleet)).empty
    assert sorted(d["name"] for d in client.get("droplets")["droplets"]) == ["mongo", "podcast"]
    assert [v["name"] for v in client.get("vpcs")["vpcs"]].count("smallfleet-small") == 1
    assert len(client.get("account/keys")["ssh_keys"]) == 1
    assert len(client.get("firewalls")["firewalls"]) == 1
    records = [r for r in client.get("domains/example.com/records")["domain_records"] if r["type"] == "A"]
    assert len({r["name"] for r in records}) == len(records) == 2


def test_a_fleet_is_created_then_nothing_is_left_to_do(fleet: Fleet, lab: Lab) -> None:
    todo, _ = complete(fleet)
    assert todo.total == 6 + 12
    whole(fleet)
    assert {spec.vpc_range for spec in lab.machines.specs.values()} == {"10.116.0.0/24"}
    assert set(lab.network.rules) == set(lab.machines.specs)


@pytest.mark.parametrize("done", [True, False], ids=["after", "before"])
def test_a_run_cut_off_at_any_call_is_completed(fleet: Fleet, lab: Lab, tmp_path: Path, done: bool) -> None:
    for at in range(1, 40):
        other = Lab(tmp_path / f"{at}.json")
        try:
            twin = fleet.model_copy(update={"end_point": f"{other.root}/v2/"})
            try:
                complete(twin, CutClient(twin.end_point, at, done))
                cut = False
            except Cut:
                cut = True
            complete(twin)
            whole(twin)
        finally:
            other.down()
        if not cut:
            assert at > 8  # VPC, key, tags, firewall, droplets, domain, records
            return
    pytest.fail("the run never got to its end")


@pytest.mark.parametrize("path", ["vpcs", "keys", "tags", "firewalls", "droplets", "domains", "records"])
@pytest.mark.parametrize("fault", [{"status": 429, "retry_after": 0}, {"status": 500}])
def test_faults_are_ridden_out(fleet: Fleet, lab: Lab, path: str, fault: dict[str, Any]) -> None:
    lab.ask("POST", "/lab/faults", path=path, times=3, **fault)
    complete(fleet)
    whole(fleet)


def test_a_timed_out_creation_is_not_repeated(
    fleet: Fleet, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", (5, 1))
    lab.ask("POST", "/lab/faults", method="POST", path="/v2/droplets$", delay=1.5)
    complete(fleet)
    whole(fleet)


def test_a_droplet_that_errors_is_tried_once_more_then_named(fleet: Fleet, lab: Lab) -> None:
    lab.ask("POST", "/lab/faults", errored_droplet="mongo")
    complete(fleet)
    whole(fleet)
    destroy_fleet(client_of(fleet), fleet, print)
    lab.ask("POST", "/lab/faults", errored_droplet="mongo", times=2)
    with pytest.raises(FleetError, match=r"mongo: .*twice"):
        complete(fleet)
    complete(fleet)
    whole(fleet)


def test_lasting_faults_are_said_without_the_token(fleet: Fleet, lab: Lab) -> None:
    lab.ask("POST", "/lab/faults", path="vpcs", status=503, times=50)
    with pytest.raises(CloudError, match="503") as error:
        complete(fleet)
    assert TOKEN not in str(error.value) + repr(error.value) + repr(error.getrepr(showlocals=True))


def test_drift_is_corrected_and_strangers_are_left(fleet: Fleet, lab: Lab) -> None:
    complete(fleet)
    client = client_of(fleet)
    record = next(
        r for r in client.get("domains/example.com/records")["domain_records"] if r["name"] == "podcast"
    )
    client.put(f"domains/example.com/records/{record['id']}", {"type": "A", "data": "192.0.2.1"})
    changed = fleet.model_copy(
        update={"firewall": Firewall(ssh_from=["192.0.2.0/24"]), "droplets": fleet.droplets}
    )
    todo, _ = complete(changed)
    assert todo.firewall == "correct" and list(todo.records) == ["podcast.example.com"]
    whole(changed)
    lab.droplet("old", tags=["smallfleet-small"])
    assert len(plan(changed, survey(client, changed)).strangers) == 1


def test_destroy_leaves_no_droplet_and_the_table_has_prices(fleet: Fleet, lab: Lab) -> None:
    console = Console(record=True, width=150)
    client = client_of(fleet)
    console.print(plan(fleet, survey(client, fleet)).table(fleet))
    assert "18.00" in console.export_text()
    complete(fleet)
    destroy_fleet(client, fleet, print)
    assert not client.get("droplets")["droplets"] and not client.get("firewalls")["firewalls"]
    assert not lab.machines.on


def test_host_keys_are_pinned_by_droplet(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    pin(known, "192.0.2.1", "ssh-ed25519 AAAA", "web", 1)
    assert pinned(known, "192.0.2.1", 1) == "ssh-ed25519 AAAA" and pinned(known, "192.0.2.1", 2) is None
    with pytest.raises(FleetError, match="not the pinned one"):
        pin(known, "192.0.2.1", "ssh-ed25519 BBBB", "web", 1)
    pin(known, "192.0.2.1", "ssh-ed25519 BBBB", "web", 2)
    assert known.read_text() == "192.0.2.1 ssh-ed25519 BBBB web 2\n"
