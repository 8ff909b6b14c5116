"""MongoDB: its users, its replica set, and how much memory it may have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from smallfleet.errors import FleetError
from smallfleet.facts.files import FileState
from smallfleet.facts.mongodb import MongodbSet, MongodbUsers, SetState
from smallfleet.model import replicas
from smallfleet.model.roles import MongodbRole
from smallfleet.operations import Commands, secrets
from smallfleet.secrets import Secret

ROOM = "/opt/smallfleet/mongodb"  # the program and its venv
PYTHON, PROGRAM = f"{ROOM}/venv/bin/python", f"{ROOM}/mongodb_users.py"
SET_PROGRAM = f"{ROOM}/mongodb_set.py"
SET = "/etc/smallfleet/mongodb/set.json"  # who is in the replica set
USERS = (
    "/etc/smallfleet/mongodb/users.json"  # root 0400: the program's passwords, the last ones that were set
)
SET_FACT = {"python": PYTHON, "program": SET_PROGRAM, "set": SET, "users": USERS}  # what MongodbSet asks for

KEYRINGS = "/etc/apt/keyrings"
CODENAMES = {
    "debian-12": ("debian", "bookworm"),
    "debian-13": ("debian", "trixie"),
    "ubuntu-22-04": ("ubuntu", "jammy"),
    "ubuntu-24-04": ("ubuntu", "noble"),
}

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Source:
    """MongoDB's archive for apt: the key's URL, the file that it is kept in, the line of sources.list."""

    key: str
    keyring: str
    line: str


def source(role: MongodbRole, image: str) -> Source:
    """The archive that the role says, for droplets of the image `image` (a slug: "debian-12-x64")."""
    try:
        os, codename = CODENAMES[image.rsplit("-", 1)[0]]
    except KeyError:
        raise FleetError(
            f"MongoDB cannot be installed on {image}: it can on {', '.join(CODENAMES)}"
        ) from None
    archive, words = role.archive, {"os": os, "codename": codename, "version": role.version}
    url, key, suite = (text.format(**words) for text in (archive.url, archive.key, archive.suite))
    component = archive.component or {"debian": "main", "ubuntu": "multiverse"}[os]
    keyring = f"{KEYRINGS}/mongodb-{role.version}.asc"
    return Source(key, keyring, f"deb [signed-by={keyring}] {url} {suite} {component}")


@dataclass(frozen=True)
class User:
    """A user of MongoDB. `roles` are roles on `database`, which is also where it logs in."""

    name: str
    database: str
    roles: tuple[str, ...]
    password: Secret


def memory_of(size: str) -> float:
    """GiB of memory of a droplet of DigitalOcean's size `size`: "s-1vcpu-512mb-10gb" -> 0.5."""
    if found := re.search(r"-(\d+)(gb|mb)(?:-|$)", size):
        return int(found[1]) / (1 if found[2] == "gb" else 1024)
    raise FleetError(
        f"The size {size} does not say how much memory it has (s-1vcpu-2gb does): "
        "give the role mongodb `cache:`, as in 512M."
    )


def cache_size(cache: str, size: str, alone: bool) -> float:
    """WiredTiger's cache in GiB: what the role says, or from the droplet's size; 0.25 is MongoDB's least.

    Auto is MongoDB's own rule, half of what is left after 1 GiB; a quarter, if MongoDB shares the droplet
    with apps (not `alone`). mongod itself looks at the machine's memory, in a container not the droplet's.
    """
    if cache != "auto":
        return max(0.25, round(int(cache[:-1]) * UNITS[cache[-1]] / UNITS["G"], 2))
    memory = memory_of(size)
    return max(0.25, round((memory - 1) * (0.5 if alone else 0.25), 2))


def restart(port: int) -> str:
    """Shell command that restarts mongod and waits until it answers at `port` and does its part in the set.

    A member of several stops only if the others are well, and hands over first if it is the primary; with
    data of its own that is in no set yet, it begins one. It fails, with mongod's last words, when mongod has
    ended three times or does not answer for two minutes (after a crash it reads its journal first).
    `reset-failed` makes systemd count its restarts from 0.
    """
    listens = f"bash -c ': </dev/tcp/127.0.0.1/{port}' 2>/dev/null"
    given_up = 'systemctl is-failed -q mongod || [ "$(systemctl show --value -p NRestarts mongod)" -ge 3 ]'
    faults = """grep '"s":"[EF]"' /var/log/mongodb/mongod.log | tail -n 3"""
    words = f"{{ {faults}; journalctl -u mongod -o cat -n 5; }} >&2"
    return (
        f"{{ ! systemctl is-active -q mongod || {in_set('yield')}; }} && "
        "systemctl daemon-reload && systemctl stop mongod && { systemctl -q reset-failed mongod 2>/dev/null; "
        "systemctl start mongod; } && ( end=$(($(date +%s) + 120)); "
        f"until {listens}; do if {given_up} || [ $(date +%s) -gt $end ]; then {words}; exit 1; fi; "
        f"sleep 0.2; done ) && {in_set('begin-with-data')} && {in_set('ready')}"
    )


def in_set(verb: str) -> str:
    """Shell command that runs a verb of programs/mongodb_set."""
    return f"{PYTHON} {SET_PROGRAM} {verb} {SET} {USERS}"


def set_state() -> SetState:
    """The set as the member on this droplet sees it."""
    found: SetState = host.get_fact(MongodbSet, **SET_FACT)
    return found


def set_spec(role: MongodbRole, me: str, members: dict[str, str]) -> dict[str, Any]:
    """What the file SET says: `members` are {droplet: private address}, `me` one of these addresses."""
    names = {name: f"{address}:{role.port}" for name, address in members.items()}
    return {
        "name": replicas.SET,
        "port": role.port,
        "me": f"{me}:{role.port}",
        "members": list(names.values()),
        "names": {member: name for name, member in names.items()},
        "settings": replicas.settings(role),
    }


@operation()
def restarted(port: int = 27017) -> Commands:
    """
    Restart mongod, without the set being without a primary or a majority by that.

    + port: mongod's
    """
    yield StringCommand(restart(port))


@operation()
def awaited() -> Commands:
    """Take part in another member's turn, so that nothing begins here before it is over."""
    host.noop("it is another member's turn")
    yield from ()


@operation()
def begun(spec: dict[str, Any]) -> Commands:
    """
    Have the replica set begun: by the member that has data, else by the first of them.

    + spec: what `set_spec` made
    """
    if set_state()["state"] not in ("fresh", "silent"):
        host.noop("it is a member of the set")
        return
    yield StringCommand(in_set("begin"))


@operation()
def joined(spec: dict[str, Any]) -> Commands:
    """
    Have all members in the set, with a vote each, and the set's settings. The primary takes them in, one at a
    time; a new one has no vote before it has all data, so nothing waits for it.

    + spec: what `set_spec` made
    """
    found = set_state()
    full = [name for name, one in found["members"].items() if one["votes"] and one["priority"]]
    # Droplets that a plan has yet to create all have the same address in it.
    complete = set(spec["members"]) <= set(full) and len(spec["members"]) <= len(full)
    if complete and found["settings"] == spec["settings"]:
        host.noop("all are members")
        return
    yield StringCommand(in_set("join"))


@operation()
def left(spec: dict[str, Any], missing: Sequence[str] = ()) -> Commands:
    """
    Have no other members in the set than those that are asked for. One that stays becomes primary first.

    + spec: what `set_spec` made
    + missing: droplets with apps that are not in this run, and may still ask for the others: then nothing is
      done
    """
    others = sorted(set(set_state()["members"]) - set(spec["members"]))
    if not others:
        host.noop("there are no other members")
        return
    if missing:
        host.log(
            f"{', '.join(others)} stay members of the set: the apps on {', '.join(missing)} may still ask "
            "for them, and are not in this run",
            logger.warning,
        )
        host.noop("the apps are not in this run")
        return
    yield StringCommand(in_set("leave"))


@operation()
def let_go() -> Commands:
    """See that this member may stop: the others are well, and one of them is primary from now on."""
    yield StringCommand(in_set("yield"))


@operation()
def caught_up() -> Commands:
    """Wait until this member does its part in the set again, and has all data."""
    yield StringCommand(in_set("ready"))


@operation()
def users(users: list[User], port: int = 27017) -> Commands:
    """
    Make MongoDB's users, with their passwords and roles. Waits for mongod to answer. Always give `name=`.

    + users: the users; the first is the administrator, made from localhost on a fresh mongod
    + port: mongod's
    """
    said = [vars(user) | {"roles": list(user.roles), "password": user.password.reveal()} for user in users]
    content = Secret(json.dumps({"port": port, "users": said}, indent=1) + "\n")
    there = host.get_fact(FileState, path=USERS)
    same = there == {"sha256": secrets.digest(content), "user": "root", "group": "root", "mode": "400"}
    states = host.get_fact(MongodbUsers, python=PYTHON, program=PROGRAM, users=USERS)
    if same and all(states.get(user.name) == "ok" for user in users):
        host.noop("the users are as they should be")
        return
    # The last passwords stay until the new ones are set: a rotated administrator is let in with the last one.
    wanted = f"{USERS}.wanted"
    yield from secrets.upload(wanted, content, "root", "root", "0400")
    yield StringCommand(PYTHON, PROGRAM, "apply", wanted, USERS, "&&", "mv", "-f", wanted, USERS)
