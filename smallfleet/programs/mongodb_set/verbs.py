"""What a member does about its set."""

from __future__ import annotations

import time
from typing import Any

from pymongo.errors import ConnectionFailure, PyMongoError

from smallfleet.programs.mongodb_set.asking import (
    NOBODY_LEADS,
    PATIENCE,
    START,
    Failure,
    NoPrimary,
    Set,
    until,
)
from smallfleet.programs.mongodb_set.steps import (
    Json,
    first_config,
    has_all,
    ill,
    members_of,
    next_join,
    next_leave,
    problems_of,
    strangers,
)

HEARTBEATS = 20.0  # seconds: several, and an election
NO_MAJORITY = (
    "MongoDB's set has no primary, as most of its members are away. It cannot be made smaller without the "
    "risk of losing writes, and was left as it is. Bring one of them back first; docs/mongodb.md says what "
    "to do if that cannot be."
)


def state(here: Set) -> Json:
    """{"state": "silent", "alone" (no set), "fresh" (not yet a member), or MongoDB's own word,
    "members": {host: …}, "settings": {…}, "problems": […]}, as this member sees it."""
    found: Json = {"state": "silent", "members": {}, "settings": {}, "problems": []}
    try:
        hello = here.settled()
        if not hello.get("setName"):
            return found | {"state": "fresh" if hello.get("isreplicaset") else "alone"}
        client = here.entered(here.here, int(START * 1000))  # it answered just now: it is slow at most
        if client is None:
            return found | {"state": "fresh"}
        status = client["admin"].command("replSetGetStatus")
        config = client["admin"].command("replSetGetConfig")["config"]
        client.close()
    except (PyMongoError, Failure) as error:
        return found | {"problems": [f"MongoDB does not answer here ({type(error).__name__})"]}
    members = members_of(status, config)
    settings = {key: config["settings"].get(key) for key in here.spec["settings"]}
    own = next(one["stateStr"] for one in status["members"] if one.get("self"))
    return found | {
        "state": own,
        "members": members,
        "settings": settings,
        "problems": problems_of(members, here.spec),
    }


def begin(here: Set, with_data: bool = False) -> None:
    """Begin the set, unless it has begun: who has data does, else the first of the members.

    `with_data`: not without."""
    hello = here.settled()
    if hello.get("setName") or not hello.get("isreplicaset"):
        return
    spec = here.spec
    mine = here.kind(here.here)
    if mine not in ("fresh", "data") or (with_data and mine != "data"):
        return
    others = {host: here.kind(host) for host in spec["members"] if host != spec["me"]}
    if {"member", "starting"} & set(others.values()):
        if mine == "data":
            raise Failure(
                f"{here.name(spec['me'])} has data of its own, and the others are a set already: joining it "
                "would delete that data. Take the droplet out of the inventory, or its data away."
            )
        return
    if mine == "data":
        if twice := [here.name(host) for host, kind in others.items() if kind == "data"]:
            raise Failure(
                f"{here.name(spec['me'])} and {', '.join(twice)} have data, each its own: a set has one. "
                "Take away the data of all but one."
            )
    else:
        if {"data", "former"} & set(others.values()) or spec["me"] != spec["members"][0]:
            return
        if silent := [here.name(host) for host, kind in others.items() if kind == "silent"]:
            raise Failure(
                f"{', '.join(silent)} does not answer on port {spec['port']}: whether it has data, and is to "
                "begin the set, cannot be told. Nothing was changed."
            )
    client = here.entered(here.here) or here.client(here.here)
    client["admin"].command("replSetInitiate", first_config(spec))
    client.close()
    until(lambda: bool(here.hello(here.here).get("isWritablePrimary")), "the new set has had no primary")
    print(f"{here.name(spec['me'])} begins the set")


def let_go(here: Set) -> None:
    """See that this member may stop without being missed: the others are well, and one of them is primary."""
    try:
        hello = here.hello(here.here)
    except PyMongoError:
        return  # it has stopped already
    if not hello.get("setName") or not (hello.get("isWritablePrimary") or hello.get("secondary")):
        return
    me = hello["me"]
    missing: list[str] = []

    def others_are_well() -> bool:
        config, members = here.view()
        votes = {m["host"] for m in config["members"] if m.get("votes", 1)}
        others = votes - {me} if me in votes else set()
        missing[:] = [here.name(host) for host in others if host not in members or ill(members[host])]
        return not missing

    try:
        # The primary may not have heard yet of one that has just come back.
        until(others_are_well, "the others are not well", HEARTBEATS)
    except Failure:
        if not missing:
            raise NoPrimary(f"{here.name(me)} is not stopped: {NOBODY_LEADS}") from None
        raise Failure(
            f"{here.name(me)} is not stopped: {', '.join(missing)} is away, and without both there may be no "
            "majority left to write to. Mend that one first (with pyinfra's --limit, if by a deploy)."
        ) from None
    if len(here.view()[0]["members"]) == 1 or not here.hello(here.here).get("isWritablePrimary"):
        return
    here.step_down()
    following: list[str] = []

    def another() -> bool:
        # In the midst of an election this member knows of no primary.
        following[:] = [host for host in [here.hello(here.here).get("primary")] if host and host != me]
        return bool(following)

    until(another, "no other member has become primary")
    print(f"{here.name(me)} hands over to {here.name(following[0])}")


def ready(here: Set) -> None:
    """Wait until this member is primary or has all that the primary had when it came back."""
    hello = here.settled()
    if not hello.get("setName"):
        return  # no member yet
    wanted: list[Any] = []

    def caught_up() -> bool:
        if here.hello(here.here).get("isWritablePrimary"):
            return True
        status = here.primary()["admin"].command("replSetGetStatus")
        me = next(one for one in status["members"] if one["name"] == hello["me"])
        primary = next((one for one in status["members"] if one["stateStr"] == "PRIMARY"), None)
        if primary is None or me["stateStr"] != "SECONDARY" or not me["health"]:
            return False
        wanted[:] = wanted or [primary["optime"]["ts"]]
        return bool(me["optime"]["ts"] >= wanted[0])

    until(caught_up, f"{here.name(hello['me'])} has not caught up")


def join(here: Set) -> None:
    """Have all members of SET in; the primary takes them in, the others wait for it."""
    spec = here.spec
    last = time.monotonic()  # when there was progress
    members: dict[str, Json] = {}
    while time.monotonic() - last < PATIENCE:
        try:
            config, members = here.view()
            step = next_join(config, spec, members)
            if step is None and has_all(config, spec):
                return
            if step and drives(spec, members):
                for host in {m["host"] for m in step["members"]} - {m["host"] for m in config["members"]}:
                    check_new(here, host)
                here.reconfigure(step)
                last = time.monotonic()
                continue
            # The first copy of the data takes as long as it takes.
            if any(one["state"] == "STARTUP2" and one["healthy"] for one in members.values()):
                last = time.monotonic()
        except (ConnectionFailure, NoPrimary):
            members = {}
        time.sleep(0.3)
    what = "; ".join(problems_of(members, spec)) or "the primary did not take them in: is it in this run?"
    raise Failure(f"the members are not together, after {PATIENCE:.0f} s: {what}")


def drives(spec: Json, members: dict[str, Json]) -> bool:
    """Whether it is this member that changes the set; the primary does, or the first for one that leaves."""
    primary = next((host for host, one in members.items() if one["state"] == "PRIMARY"), None)
    return bool(spec["me"] == (primary if primary in spec["members"] else spec["members"][0]))


def check_new(here: Set, host: str) -> None:
    """Failure where a mongod that is to be a new member has data: it would be deleted."""
    kind = here.kind(host)
    if kind == "data":
        raise Failure(
            f"{here.name(host)} has data of its own, which joining the set would delete. "
            "Take the droplet out of the inventory, or its data away."
        )
    if kind == "silent":
        raise Failure(f"{here.name(host)} does not answer on port {here.spec['port']}: it cannot join")


def leave(here: Set) -> None:
    """Take out the members that SET has not; one that stays becomes primary first."""
    spec = here.spec
    if spec["me"] != spec["members"][0]:
        until(
            lambda: not strangers(here.view()[0], spec), "members that are to go are still in", PATIENCE * 2
        )
        return
    leaving: list[str] = []

    def done() -> bool:
        config, members = here.view()
        out = strangers(config, spec)
        ill_ones = [here.name(host) for host in spec["members"] if host not in members or ill(members[host])]
        if ill_ones and out and not leaving:
            raise Failure(f"{', '.join(ill_ones)} is to stay, and is not well: nobody leaves before it is")
        leaving[:] = leaving or [here.name(host) for host in out]
        if out and not ill_ones:
            step = next_leave(config, spec, members)
            if step:
                here.reconfigure(step)
            else:
                here.electable()
                here.step_down()
        return not out

    try:
        done()
    except (ConnectionFailure, NoPrimary) as error:
        raise Failure(NO_MAJORITY) from error
    until(done, "the members that are to go are still in")
    print(f"no longer members: {', '.join(leaving)}")
