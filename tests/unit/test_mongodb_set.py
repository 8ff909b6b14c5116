"""The steps by which MongoDB's set grows and shrinks, without a mongod."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from smallfleet import programs
from smallfleet.model import replicas
from smallfleet.model.roles import MongodbRole
from smallfleet.operations import mongodb
from smallfleet.programs.mongodb_set import steps

NAMES = ["mongo", "mongo2", "mongo3"]
ADDRESS = {name: f"10.0.0.{number}:27017" for number, name in enumerate([*NAMES, "mongo4"], start=2)}
ROLE = MongodbRole(name="mongodb", kind="mongodb", members=3)


def spec(*names: str, me: str | None = None) -> dict[str, Any]:
    members = {name: ADDRESS[name].split(":")[0] for name in names}
    return mongodb.set_spec(ROLE, members.get(me or names[0], ""), members)


def config(*names: str, **changes: dict[str, Any]) -> dict[str, Any]:
    """A set of these members; `changes`: {name: what differs}."""
    members = [
        {"_id": number, "host": ADDRESS[name], "votes": 1, "priority": 1} | changes.get(name, {})
        for number, name in enumerate(names)
    ]
    return {"_id": "smallfleet", "version": 7, "members": members, "settings": replicas.settings(ROLE)}


def seen(**states: str) -> dict[str, Any]:
    """Members as the primary sees them; a state of "" is one that does not answer."""
    return {
        ADDRESS[name]: {"state": state, "healthy": bool(state), "lag": 0.0, "votes": 1, "priority": 1}
        for name, state in states.items()
    }


def brief(found: dict[str, Any] | None) -> dict[str, tuple[int, int]] | None:
    """{name: (votes, priority)}."""
    names = {address: name for name, address in ADDRESS.items()}
    return found and {names[m["host"]]: (m["votes"], m["priority"]) for m in found["members"]}


def test_it_grows_without_a_vote_for_who_has_no_data() -> None:
    wanted = spec(*NAMES)
    one = steps.first_config(wanted)
    assert one["members"] == [{"_id": 0, "host": ADDRESS["mongo"]}]
    assert one["settings"] == {"electionTimeoutMillis": 3000, "heartbeatIntervalMillis": 500}

    two = steps.next_join(config("mongo"), wanted, seen(mongo="PRIMARY"))
    assert brief(two) == {"mongo": (1, 1), "mongo2": (0, 0)}
    three = steps.next_join(two, wanted, seen(mongo="PRIMARY", mongo2="STARTUP2"))  # type: ignore[arg-type]
    assert brief(three) == {"mongo": (1, 1), "mongo2": (0, 0), "mongo3": (0, 0)}
    assert three and [member["_id"] for member in three["members"]] == [0, 1, 2]

    # Nobody gets a vote before all have the data, so that two votes, which need both, last for a moment.
    copying = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="STARTUP2")
    assert steps.next_join(three, wanted, copying) is None and not steps.has_all(three, wanted)
    late = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="SECONDARY")
    late[ADDRESS["mongo3"]]["lag"] = 60.0
    assert steps.next_join(three, wanted, late) is None

    there = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="SECONDARY")
    one_more = steps.next_join(three, wanted, there)
    assert brief(one_more) == {"mongo": (1, 1), "mongo2": (1, 1), "mongo3": (0, 0)}
    whole = steps.next_join(one_more, wanted, there)  # type: ignore[arg-type]
    assert brief(whole) == {"mongo": (1, 1), "mongo2": (1, 1), "mongo3": (1, 1)}
    assert whole and steps.has_all(whole, wanted) and steps.next_join(whole, wanted, there) is None


def test_the_settings_follow_the_role() -> None:
    there = seen(mongo="PRIMARY")
    old = config("mongo") | {"settings": {"electionTimeoutMillis": 10000, "chainingAllowed": True}}
    new = steps.next_join(old, spec("mongo"), there)
    assert new and new["settings"] == {"chainingAllowed": True, **replicas.settings(ROLE)}
    assert steps.next_join(new, spec("mongo"), there) is None


def test_who_is_gone_with_its_droplet_gives_way_to_a_new_member() -> None:
    wanted = spec("mongo", "mongo2", "mongo4")
    there = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="")
    without = steps.next_join(config(*NAMES), wanted, there)
    assert brief(without) == {"mongo": (1, 1), "mongo2": (1, 1)}
    new = steps.next_join(without, wanted, there)  # type: ignore[arg-type]
    assert new and new["members"][-1] == {"_id": 2, "host": ADDRESS["mongo4"], "votes": 0, "priority": 0}
    # One that only the inventory has dropped stays until the apps know.
    alive = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="SECONDARY")
    assert steps.next_join(config(*NAMES), spec("mongo"), alive) is None


def test_it_shrinks_one_by_one_and_who_does_not_answer_goes_first() -> None:
    wanted = spec("mongo")
    there = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="")
    two = steps.next_leave(config(*NAMES), wanted, there)
    assert brief(two) == {"mongo": (1, 1), "mongo2": (1, 1)}
    assert brief(steps.next_leave(two, wanted, there)) == {"mongo": (1, 1)}  # type: ignore[arg-type]


def test_a_primary_that_goes_is_followed_by_one_that_stays() -> None:
    wanted = spec("mongo2")
    there = seen(mongo="PRIMARY", mongo2="SECONDARY", mongo3="SECONDARY")
    assert steps.strangers(config(*NAMES), wanted) == [ADDRESS["mongo"], ADDRESS["mongo3"]]
    first = steps.next_leave(config(*NAMES), wanted, there)
    assert brief(first) == {"mongo": (1, 1), "mongo2": (1, 1), "mongo3": (1, 0)}
    assert steps.next_leave(first, wanted, there) is None  # now it steps down  # type: ignore[arg-type]
    after = seen(mongo="SECONDARY", mongo2="PRIMARY", mongo3="SECONDARY")
    then = steps.next_leave(first, wanted, after)  # type: ignore[arg-type]
    assert brief(then) == {"mongo2": (1, 1), "mongo3": (1, 0)}
    # A shrink that was cut off there, and given up, leaves nobody unable to become primary.
    again = steps.next_join(first, spec(*NAMES), there)  # type: ignore[arg-type]
    assert again and steps.has_all(again, spec(*NAMES))


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"mongo": "PRIMARY", "mongo2": "SECONDARY", "mongo3": "SECONDARY"}, []),
        ({"mongo": "PRIMARY", "mongo2": "SECONDARY", "mongo3": ""}, ["mongo3 does not answer the others"]),
        ({"mongo": "PRIMARY", "mongo2": "SECONDARY"}, ["mongo3 is not a member"]),
        (
            {"mongo": "SECONDARY", "mongo2": "SECONDARY", "mongo3": "RECOVERING"},
            ["mongo3 is in the state RECOVERING", "there is no primary"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_droplets_names(states: dict[str, str], words: list[str]) -> None:
    assert steps.problems_of(seen(**states), spec(*NAMES)) == words


def test_members_are_read_from_what_mongod_says() -> None:
    now = datetime(2026, 1, 1)
    status = {
        "members": [
            {"name": ADDRESS["mongo"], "stateStr": "PRIMARY", "health": 1.0, "optimeDate": now},
            {
                "name": ADDRESS["mongo2"],
                "stateStr": "SECONDARY",
                "health": 1.0,
                "optimeDate": now - timedelta(seconds=3),
            },
            {"name": ADDRESS["mongo3"], "stateStr": "(not reachable/healthy)", "health": 0.0},
        ]
    }
    found = steps.members_of(status, config(*NAMES, mongo3={"votes": 0, "priority": 0}))
    assert found[ADDRESS["mongo2"]] == {
        "state": "SECONDARY",
        "healthy": True,
        "lag": 3.0,
        "votes": 1,
        "priority": 1,
    }
    assert not found[ADDRESS["mongo3"]]["healthy"] and found[ADDRESS["mongo3"]]["votes"] == 0


def test_the_program_is_one_file_that_python_reads() -> None:
    text = programs.text("mongodb_set")
    compile(text, "mongodb_set.py", "exec")
    imported = [line for line in text.splitlines() if line.startswith(("import", "from"))]
    assert imported and not any("smallfleet" in line for line in imported)
    assert text.endswith("raise SystemExit(main())\n")
