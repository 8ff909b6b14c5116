"""What the set is to become, step by step: no member is asked here."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]

LAG = 2.0  # seconds that a new member may be behind when it gets its vote


def first_config(spec: Json) -> Json:
    """The set that begins: this member alone."""
    members = [{"_id": 0, "host": spec["me"]}]
    return {"_id": spec["name"], "version": 1, "members": members, "settings": spec["settings"]}


def ill(member: Json) -> bool:
    return member["state"] not in ("PRIMARY", "SECONDARY") or not member["healthy"]


def next_join(config: Json, spec: Json, members: dict[str, Json]) -> Json | None:
    """The configuration after the next step to have all members of `spec`; None if none can be done now.

    `members`: {host: as in `state`}. At most one vote is given or taken in a step. Votes are given when all
    new members have the data, so that an even number of votes lasts for a moment only.
    """
    new = copy.deepcopy(config)
    mine = {member["host"]: member for member in new["members"]}
    if any(new["settings"].get(key) != value for key, value in spec["settings"].items()):
        new["settings"] |= spec["settings"]
        return new
    for host in mine:
        # It would count in every majority, and cannot answer: its droplet may be gone already.
        if host not in spec["members"] and host in members and not members[host]["healthy"]:
            new["members"] = [member for member in new["members"] if member["host"] != host]
            return new
    for host in spec["members"]:
        if host not in mine:
            number = 1 + max(member["_id"] for member in new["members"])
            new["members"].append({"_id": number, "host": host, "votes": 0, "priority": 0})
            return new
    waiting = [host for host in spec["members"] if not mine[host].get("votes", 1)]
    if all(host in members and not ill(members[host]) and members[host]["lag"] <= LAG for host in waiting):
        for host in spec["members"]:
            if not mine[host].get("votes", 1) or not mine[host].get("priority", 1):
                mine[host] |= {"votes": 1, "priority": 1}
                return new
    return None


def has_all(config: Json, spec: Json) -> bool:
    """Whether each member of `spec` is in, with a vote, and can become primary."""
    full = [m["host"] for m in config["members"] if m.get("votes", 1) and m.get("priority", 1)]
    return set(spec["members"]) <= set(full)


def strangers(config: Json, spec: Json) -> list[str]:
    """The members that are not in `spec`."""
    return [member["host"] for member in config["members"] if member["host"] not in spec["members"]]


def next_leave(config: Json, spec: Json, members: dict[str, Json]) -> Json | None:
    """The configuration after the next step to have no other members than those of `spec`; None where the
    primary is such a one and has to step down first.

    Who does not answer goes first: it counts in every majority.
    """
    new = copy.deepcopy(config)
    out = strangers(config, spec)
    primary = next((host for host, member in members.items() if member["state"] == "PRIMARY"), None)
    if primary in out:
        # So that whoever follows it is one that stays.
        chosen = [m for m in new["members"] if m["host"] in out and m["host"] != primary]
        if not any(member.get("priority", 1) for member in chosen):
            return None
        for member in chosen:
            member["priority"] = 0
        return new
    first = min(out, key=lambda host: members.get(host, {}).get("healthy", False))
    new["members"] = [member for member in new["members"] if member["host"] != first]
    return new


def members_of(status: Json, config: Json) -> dict[str, Json]:
    """{host: {"state", "healthy", "lag", "votes", "priority"}} of a status and a configuration; `lag` in
    seconds behind the one that is furthest."""
    configured = {member["host"]: member for member in config["members"]}
    newest = max((one["optimeDate"] for one in status["members"] if "optimeDate" in one), default=None)
    return {
        one["name"]: {
            "state": one["stateStr"],
            "healthy": bool(one["health"]),
            "lag": (newest - one["optimeDate"]).total_seconds() if newest and "optimeDate" in one else 0.0,
            "votes": configured.get(one["name"], {}).get("votes", 1),
            "priority": configured.get(one["name"], {}).get("priority", 1),
        }
        for one in status["members"]
    }


def problems_of(members: dict[str, Json], spec: Json) -> list[str]:
    """What is wrong with the set, in words; [] if each member of `spec` does its part."""
    found = []
    for host in spec["members"]:
        name = spec["names"].get(host, host)
        if host not in members:
            found.append(f"{name} is not a member")
        elif not members[host]["healthy"]:
            found.append(f"{name} does not answer the others")
        elif ill(members[host]):
            found.append(f"{name} is in the state {members[host]['state']}")
    if not any(member["state"] == "PRIMARY" for member in members.values()):
        found.append("there is no primary")
    return found
