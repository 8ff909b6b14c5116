"""What a droplet is: files, packages, units, accounts, firewall, MongoDB's users. Runs on it; prints JSON.

{"files": {path: "sha256 owner group mode"}, ...}: each part is {name: text}, so that two can be compared.
Standard library only; nothing secret is printed, as contents are hashed.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("/etc", "/usr/local", "/opt", "/srv", "/var/www", "/var/lib/smallfleet")
MONGODB = Path("/opt/smallfleet/mongodb/venv/bin/python")
USERS = """
import json
from pymongo import MongoClient
said = json.load(open("/etc/smallfleet/mongodb/users.json"))
admin = said["users"][0]
client = MongoClient("127.0.0.1", said["port"], username="admin", password=admin["password"])
for user in client["admin"].command("usersInfo", {"forAllDBs": True})["users"]:
    print(user["_id"], sorted(role["db"] + "." + role["role"] for role in user["roles"]))
"""


def lines(*command: str, stdin: str = "") -> list[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def names(status: os.stat_result) -> str:
    def name(find: object, number: int) -> str:
        try:
            return str(find(number)[0])  # type: ignore[operator]
        except KeyError:
            return str(number)

    return f"{name(pwd.getpwuid, status.st_uid)} {name(grp.getgrgid, status.st_gid)}"


def files() -> Iterator[tuple[str, str]]:
    for root in ROOTS:
        for directory, below, found in os.walk(root):
            below[:] = [name for name in below if name != "__pycache__"]
            for name in [*below, *found]:
                path = os.path.join(directory, name)  # noqa: PTH118 # a hundred thousand files in venvs
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    yield path, f"-> {os.readlink(path)} {names(status)}"  # noqa: PTH115
                    continue
                mode = oct(stat.S_IMODE(status.st_mode))[2:]
                digest = "directory" if stat.S_ISDIR(status.st_mode) else "other"
                if stat.S_ISREG(status.st_mode):
                    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
                yield path, f"{digest} {names(status)} {mode}"


def snapshot() -> dict[str, dict[str, str]]:
    words = ("systemctl", "--no-legend", "--plain", "--type=service,socket,timer,path")
    enabled = (line.split()[:2] for line in lines(*words, "list-unit-files"))
    active = (line.split()[:4] for line in lines(*words, "list-units", "--state=active"))
    packages = (
        line.split(" ", 1) for line in lines("dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\n")
    )
    manual = {name: "by hand" for name in lines("apt-mark", "showmanual")}
    accounts = [*lines("getent", "passwd"), *lines("getent", "group")]
    users = lines(str(MONGODB), "-", stdin=USERS) if MONGODB.exists() else []
    return {
        "files": dict(files()),
        "packages": {name: rest for name, rest in packages},
        "packages asked for": manual,
        "units enabled": {found[0]: found[1] for found in enabled if len(found) == 2},
        "units active": {found[0]: " ".join(found[2:]) for found in active},
        "accounts": {
            line.split(":")[0] + (":group" if line.count(":") == 3 else ""): line for line in accounts
        },
        "firewall": {"ruleset": "\n".join(lines("nft", "-s", "list", "ruleset"))},
        "MongoDB's users": {line.split(" ", 1)[0]: line for line in users},
    }


if __name__ == "__main__":
    print(json.dumps(snapshot()))
