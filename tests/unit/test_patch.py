"""A patch day's order and plan, and what the patch program reads out of apt and needrestart."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallfleet import patchday
from smallfleet.errors import FleetError
from smallfleet.facts.patch import Patch, nothing
from smallfleet.inventory import load_inventory
from smallfleet.model.fleet import Droplet, Fleet
from smallfleet.programs import patch

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.chdir(PROJECT)
    return load_inventory(Path("inventory/prod.py"))


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.chdir(PROJECT)
    return load_inventory(Path("inventory/single.py"))


SIMULATION = """\
NOTE: This is only a simulation!
Inst libperl5.36 [5.36.0-7+deb12u3] (5.36.0-7+deb12u4 Debian-Security:12/oldstable-security [amd64]) []
Inst libc6 [2.36-9] (2.36-9+deb12u10 Debian:12.10/stable, Debian-Security:12/stable-security [amd64])
Inst tzdata [2026b] (2026f Debian:12.10/stable-updates [all])
Inst linux-image-6.1.0-40-amd64 (6.1.150-1 Debian-Security:12/stable-security [amd64])
Conf libc6 (2.36-9+deb12u10 Debian:12.10/stable [amd64])
"""


def test_updates_are_read_with_their_sources() -> None:
    updates = {update["name"]: update for update in patch.parse_updates(SIMULATION)}
    assert list(updates) == ["libc6", "libperl5.36", "linux-image-6.1.0-40-amd64", "tzdata"]
    assert updates["libc6"] == {
        "name": "libc6",
        "from": "2.36-9",
        "to": "2.36-9+deb12u10",
        "sources": ["Debian:12.10/stable", "Debian-Security:12/stable-security"],
        "security": True,
    }
    assert updates["libperl5.36"]["security"] and not updates["tzdata"]["security"]
    assert updates["linux-image-6.1.0-40-amd64"]["from"] is None


def test_what_needrestart_says() -> None:
    output = "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-1\nNEEDRESTART-KEXP: 6.1.0-2\nNEEDRESTART-KSTA: "
    services = "NEEDRESTART-SVC: nginx.service\nNEEDRESTART-SVC: getty@tty1.service\n"
    assert patch.parse_needrestart(f"{output}1\n{services}") == ([], ["nginx.service"])
    reasons, _ = patch.parse_needrestart(f"{output}3\n{services}")
    assert reasons == ["the kernel 6.1.0-2 is installed, 6.1.0-1 runs"]
    reasons, services_ = patch.parse_needrestart(
        "NEEDRESTART-SVC: dbus.service\nNEEDRESTART-SVC: systemd-manager\n"
    )
    assert len(reasons) == 2 and services_ == []


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nginx.service", "nginx.service"),
        ("0::/system.slice/system-podcast.slice/podcast@r1.service", "podcast@r1.service"),
        ("9:name=systemd:/system.slice/mongod.service\n8:pids:/", "mongod.service"),
        ("0::/init.scope", "systemd-manager"),
        ("0::/user.slice/user-0.slice/session-3.scope", None),
        ("0::/user.slice/user-0.slice/user@0.service/init.scope", None),
        ("8:pids:/", None),
    ],
)
def test_the_unit_of_a_process(cgroup: str, unit: str | None) -> None:
    assert patch.unit_of(cgroup) == unit


def test_what_others_need_goes_last(fleet: Fleet, single: Fleet) -> None:
    turns = patchday.order(fleet)
    assert turns[-1] == "mongo" and set(turns) == {droplet.name for droplet in fleet.droplets}
    assert patchday.order(fleet, ["mongodb", "api"]) == ["api", "mongo"]
    assert len(patchday.order(single)) == 1
    with pytest.raises(FleetError, match="neither a droplet nor a role"):
        patchday.order(fleet, ["mongp"])


def test_who_waits_for_whom(fleet: Fleet, single: Fleet) -> None:
    assert patchday.waiting(fleet, "mongo", "podcast") == ["podcast"]
    assert patchday.waiting(fleet, "podcast", "api") == []
    assert patchday.waiting(fleet, "mongo", "mongo") == []
    alone = single.droplets[0].name
    assert set(patchday.waiting(single, alone, alone)) == {app.name for app in single.apps if app.app}


@pytest.fixture
def trio(fleet: Fleet) -> Fleet:
    """The fleet with a set of three."""
    more = [Droplet(name, size="s-1vcpu-2gb", roles=["mongodb"]) for name in ("mongo2", "mongo3")]
    three = {"droplets": [*fleet.droplets, *more], "overrides": {"mongodb": {"members": 3}}}
    twin = fleet.model_copy(update=three)
    twin._roles = None
    return twin


def test_a_sets_members_go_one_by_one_and_the_primary_last(trio: Fleet) -> None:
    turns = patchday.order(trio)
    assert turns[-3:] == ["mongo", "mongo2", "mongo3"]
    assert patchday.primary_last(turns, "mongo")[-3:] == ["mongo2", "mongo3", "mongo"]
    assert patchday.primary_last(turns, None) == turns
    assert patchday.order(trio, ["mongo2"]) == ["mongo2"]


def test_nobody_waits_for_a_member_that_others_stand_in_for(trio: Fleet, fleet: Fleet) -> None:
    assert patchday.in_set(trio, "mongo2") and not patchday.in_set(trio, "podcast")
    assert not patchday.in_set(fleet, "mongo")
    assert patchday.waiting(trio, "mongo", "podcast") == []
    kernel = found(then_reboot=["the kernel"], boot=8.0)
    assert patchday.effect_of(trio, "mongo", kernel) == "nothing"
    assert patchday.interrupts(trio, "mongo", found(reboot=["the kernel"]))  # it hands over first
    assert patchday.Day(trio, ["mongo"]).missing(["mongo"]) == []


def found(**values: object) -> Patch:
    return nothing() | values  # type: ignore[return-value, operator]


def test_maintenance_is_for_what_sites_wait_for_alone(fleet: Fleet) -> None:
    assert patchday.interrupts(fleet, "mongo", found(reboot=["the kernel"]))
    assert patchday.interrupts(fleet, "mongo", found(restart=["mongod.service"]))
    assert not patchday.interrupts(fleet, "mongo", found(restart=["cron.service"]))
    assert not patchday.interrupts(fleet, "podcast", found(reboot=["the kernel"]))
    assert patchday.interrupts(fleet, "mongo", found(then_restart=["mongod.service"]), then=True)


def test_the_plan_says_what_visitors_notice(fleet: Fleet) -> None:
    kernel = found(then_reboot=["the kernel"], boot=8.0)
    assert patchday.effect_of(fleet, "podcast", kernel) == "podcast away: about 12 s"
    assert patchday.effect_of(fleet, "mongo", kernel).startswith("maintenance of ")
    assert patchday.effect_of(fleet, "mongo", nothing()) == "nothing"
    assert patchday.effect_of(fleet, "mongo", found(then_restart=["cron.service"])) == "nothing"
    assert patchday.need_of(found(then_restart=["nginx.service"])) == "restart nginx"


def test_nothing_begins_without_those_that_wait(fleet: Fleet) -> None:
    names = {droplet.name for droplet in fleet.droplets}
    day = patchday.Day(fleet, ["mongo"])
    assert day.missing(names) == [] and day.missing(names - {"api"}) == ["api"]
    assert patchday.Day(fleet, ["api"]).missing({"api"}) == []


def test_each_update_is_listed_once(fleet: Fleet) -> None:
    update = {"name": "libssl3", "to": "3.0.2", "sources": ["Debian-Security:12"], "security": True}
    plans = {"api": found(pending=[update]), "mongo": found(pending=[update])}
    assert patchday.packages(plans) == [("libssl3", "3.0.2", "Debian-Security:12", ["api", "mongo"])]
