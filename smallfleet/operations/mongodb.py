"""MongoDB: its users, and how much memory it may have."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import StringCommand, operation

from smallfleet.errors import FleetError
from smallfleet.facts.files import FileState
from smallfleet.facts.mongodb import MongodbUsers
from smallfleet.model.roles import MongodbRole
from smallfleet.operations import Commands, secrets
from smallfleet.secrets import Secret

ROOM = "/opt/smallfleet/mongodb"  # the program and its venv
PYTHON, PROGRAM = f"{ROOM}/venv/bin/python", f"{ROOM}/mongodb_users.py"
USERS = (
    "/etc/smallfleet/mongodb/users.json"  # root 0400: the program's passwords, the last ones that were set
)

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
    """Shell command that restarts mongod and waits until it answers at `port`.

    It fails, with mongod's last words, when mongod has ended three times or does not answer for two minutes
    (after a crash it reads its journal first). `reset-failed` makes systemd count its restarts from 0.
    """
    listens = f"bash -c ': </dev/tcp/127.0.0.1/{port}' 2>/dev/null"
    given_up = 'systemctl is-failed -q mongod || [ "$(systemctl show --value -p NRestarts mongod)" -ge 3 ]'
    faults = """grep '"s":"[EF]"' /var/log/mongodb/mongod.log | tail -n 3"""
    words = f"{{ {faults}; journalctl -u mongod -o cat -n 5; }} >&2"
    return (
        "systemctl daemon-reload && systemctl stop mongod && { systemctl -q reset-failed mongod 2>/dev/null; "
        "systemctl start mongod; } && ( end=$(($(date +%s) + 120)); "
        f"until {listens}; do if {given_up} || [ $(date +%s) -gt $end ]; then {words}; exit 1; fi; "
        "sleep 0.2; done )"
    )


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
