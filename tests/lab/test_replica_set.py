"""One MongoDB server becomes a set of three, is patched, loses its primary, and is one again, under load."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from smallfleet.lab.descriptor import Lab
from smallfleet.operations.mongodb import in_set
from tests.lab.conftest import INSTALLED, Workplace, eventually, workplace
from tests.lab.test_patch_day import boot_of, notes
from tests.lab.visitors import TOKEN, Crowd, Site, Visit

MEMBERS = ["mongo", "mongo2", "mongo3"]
NAME = "grows"
INVENTORY = f"inventory/{NAME}.py"


def write(place: Workplace, members: list[str]) -> None:
    """What the owner edits: the inventory, and a line of the role."""
    place.write_inventory(NAME, {"api": ["api"], **{name: ["mongodb"] for name in members}})
    role = place.directory / "roles/mongodb.yml"
    role.write_text(re.sub(r"(?m)^members: \d", f"members: {len(members)}", role.read_text()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("set"), INSTALLED) as place:
        write(place, ["mongo"])
        place.deploy(INVENTORY, "deploys/site.py")
        yield place


def crowd(place: Workplace) -> Crowd:
    """Readers and writers; whatever one of them is refused counts."""
    (address,) = {answer["address"] for answer in place.sites(INVENTORY)}
    site = Site("api", "api.example.com", address)
    path, note = "/v1/courses/web-pages", json.dumps({"text": TOKEN})
    visits = [
        Visit(site, "read", "/", rate=5, visitors=2),
        Visit(site, "read JSON", path, rate=5, visitors=2),
        Visit(site, "write", path, rate=6, visitors=2, method="POST", body=note, status=201),
    ]
    return Crowd(Lab.load(place.lab).ca, visits)


def state_of(place: Workplace, member: str) -> dict[str, Any]:
    """The set as a member sees it; {} while it cannot say."""
    said = place.ssh(member, in_set("state"), check=False)
    return json.loads(said) if said.strip() else {}


def whole(place: Workplace, members: list[str]) -> bool:
    """Whether each of these sees a set of as many members, all well."""
    seen = [state_of(place, name) for name in members]
    return all(
        one.get("problems") == [] and len(one["members"]) == len(members) and votes(one) == len(members)
        for one in seen
    )


def votes(state: dict[str, Any]) -> int:
    return sum(member["votes"] for member in state.get("members", {}).values())


def primary(place: Workplace) -> str:
    """The droplet of the primary; waits until there is one."""
    found: list[str] = []

    def one_is() -> bool:
        found[:] = [name for name in MEMBERS if state_of(place, name).get("state") == "PRIMARY"]
        return len(found) == 1

    eventually(one_is, "one member is primary")
    return found[0]


def changed_by_a_deploy(place: Workplace) -> dict[str, list[str]]:
    return {name: names for name, names in place.deploy(INVENTORY, "deploys/site.py").items() if names}


def assert_none_lost(place: Workplace, visitors: Crowd) -> None:
    acknowledged = {one.token for one in visitors.answers if one.kind == "write" and one.status == 201}
    assert acknowledged and acknowledged <= notes(place)


def report(visitors: Crowd, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}\n{visitors.table()}\nlongest gap {visitors.gap('api'):.1f} s")
        for one in visitors.failed[:10]:
            print(one)


def test_one_becomes_three_while_visitors_read_and_write(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert whole(place, ["mongo"])  # a set of one: nothing has to be restarted
    started = place.ssh("mongo", "systemctl show -P ExecMainStartTimestampMonotonic mongod")
    write(place, MEMBERS)
    with crowd(place) as visitors:
        visitors.wait_for(100)
        place.deploy(INVENTORY, "deploys/site.py")
        visitors.wait_for(len(visitors.answers) + 100)
    report(visitors, "from one to three", capsys)
    assert not visitors.failed
    assert whole(place, MEMBERS) and primary(place) == "mongo"
    assert place.ssh("mongo", "systemctl show -P ExecMainStartTimestampMonotonic mongod") == started
    url = place.ssh("api", "grep MONGODB_URL /etc/smallfleet/apps/api.serving.env")
    assert url.count(":27017") == 3 and "replicaSet=" in url and "retryWrites=true" in url
    assert_none_lost(place, visitors)
    assert changed_by_a_deploy(place) == {}


def test_a_patch_day_that_nobody_notices(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: boot_of(place, name) for name in MEMBERS}
    first = primary(place)
    for name in MEMBERS:
        place.ssh(name, "touch /run/reboot-required")
    with crowd(place) as visitors:
        visitors.wait_for(100)
        done = place.run("fleet", "patch", INVENTORY, "--limit", "mongodb", "-y")
        visitors.wait_for(len(visitors.answers) + 100)
    report(visitors, "a patch day", capsys)
    assert not visitors.failed
    assert not any(one.maintenance for one in visitors.answers)
    assert "maintenance of" not in done.stderr and "take over" in done.stdout + done.stderr
    after = {name: boot_of(place, name) for name in MEMBERS}
    assert all(after[name] != before[name] for name in MEMBERS)
    # Its turn was the last one, and another member is primary since then.
    back = {name: int(place.ssh(name, "cut -d' ' -f22 /proc/1/stat")) for name in MEMBERS}
    assert max(back, key=lambda name: back[name]) == first != primary(place)
    assert whole(place, MEMBERS)
    assert_none_lost(place, visitors)


def test_a_set_that_lacks_a_member_is_not_patched(place: Workplace) -> None:
    first = primary(place)
    away = next(name for name in MEMBERS if name != first)
    place.ssh(away, "systemctl stop mongod")
    eventually(lambda: f"{away} does not answer" in str(state_of(place, first)), "it is missed")
    refused = place.run("fleet", "patch", INVENTORY, "--limit", "mongodb", "-y", check=False)
    assert refused.returncode == 1 and "Nothing was begun" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    changes = place.deploy(INVENTORY, "deploys/mongodb.py")
    assert changes.pop(away) == ["Run MongoDB"], changes
    assert not any(changes.values())
    eventually(lambda: whole(place, MEMBERS), "all are well")


def test_a_primary_that_is_killed_is_replaced(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    first = primary(place)
    with crowd(place) as visitors:
        visitors.wait_for(100)
        killed = visitors.now()
        place.ssh(first, "kill -9 $(systemctl show -P MainPID mongod)")
        eventually(lambda: primary(place) != first, "another one is primary")
        visitors.wait_for(len(visitors.answers) + 200)
    report(visitors, f"a primary is killed, at {killed:.1f} s", capsys)
    # Three seconds of silence, and an election; the app itself waits five for a primary.
    assert visitors.gap("api") < 60
    assert all(killed - 1 <= one.at <= killed + 60 for one in visitors.failed)
    assert {one.status for one in visitors.failed} <= {500, 502, 503}
    eventually(lambda: whole(place, MEMBERS), "the one that was killed is back")
    assert_none_lost(place, visitors)


def test_three_become_one_that_was_not_the_primary(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    if primary(place) == "mongo":
        place.ssh("mongo", in_set("yield"))
    write(place, ["mongo"])

    # Not without a majority: nothing is forced.
    for name in ("mongo2", "mongo3"):
        place.ssh(name, "systemctl stop mongod")
    refused = place.run("pyinfra", INVENTORY, "deploys/members.py", "-y", check=False)
    assert refused.returncode == 1 and "has no primary" in refused.stdout + refused.stderr
    for name in ("mongo2", "mongo3"):
        place.ssh(name, "systemctl start mongod")
    eventually(lambda: state_of(place, "mongo2").get("problems") == [], "all are back")
    if primary(place) == "mongo":
        place.ssh("mongo", in_set("yield"))

    # Not while the apps are left out of the run, and may still ask for the others.
    left_out = place.run("pyinfra", INVENTORY, "deploys/site.py", "-y", "--limit", "mongo")
    assert "may still ask for them" in left_out.stdout + left_out.stderr
    assert len(state_of(place, "mongo")["members"]) == 3

    with crowd(place) as visitors:
        visitors.wait_for(100)
        changes = place.deploy(INVENTORY, "deploys/site.py")
        visitors.wait_for(len(visitors.answers) + 100)
    report(visitors, "from three to one", capsys)
    assert "deploys/members.py | Let go of members of MongoDB's set" in changes["mongo"]
    assert not visitors.failed
    assert whole(place, ["mongo"])
    url = place.ssh("api", "grep MONGODB_URL /etc/smallfleet/apps/api.serving.env")
    assert url.count(":27017") == 1
    assert_none_lost(place, visitors)
    assert changed_by_a_deploy(place) == {}
    # Now the others are nobody's, and can be destroyed.
    for name in ("mongo2", "mongo3"):
        place.ssh(name, "systemctl stop mongod")
    assert place.sites(INVENTORY)[0]["status"] == 200
