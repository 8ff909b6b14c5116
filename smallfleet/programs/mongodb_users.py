"""MongoDB's users: are they as they should be, and make them so. Runs on the droplet, with pymongo.

    mongodb_users.py state USERS            prints {"podcast": "ok", "api": "password", ...} as JSON
    mongodb_users.py apply WANTED CURRENT   makes the users of WANTED; CURRENT (if there) has the last ones

USERS, WANTED and CURRENT are files that root alone reads:

    {"port": 27017, "users": [{"name": "admin", "database": "admin", "roles": ["root"], "password": "..."}]}

The first user is the administrator; a fresh mongod lets it be made from localhost without a password. A role
is one on the user's own database. In a replica set the primary makes them, the other members wait for that;
one that is in no set yet gets them when it joins. States: ok, missing, password (it cannot log in), roles
(not as wanted); {} where a member has no data to be asked for at the moment. No password is ever printed.
Ends with 1 and a sentence when mongod does not answer or refuses the administrator.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import NotPrimaryError, OperationFailure, PyMongoError, ServerSelectionTimeoutError

WAIT = 60_000  # milliseconds that mongod may take to answer, after a start with much to recover
REFUSED = 18  # AuthenticationFailed
NOT_IN_IT = 93  # InvalidReplicaSetConfig: its set went on without it
User = dict[str, Any]


class Failure(Exception):
    """What the owner is told."""


def connect(port: int, user: User | None = None) -> MongoClient[dict[str, Any]]:
    """A client that was answered, logged in as `user`. OperationFailure (REFUSED) on a wrong password."""
    login = {}
    if user:
        login = {"username": user["name"], "password": user["password"], "authSource": user["database"]}
    client: MongoClient[dict[str, Any]] = MongoClient(
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=WAIT, appname="smallfleet", **login
    )
    try:
        client["admin"].command("ping")
    except BaseException:
        client.close()
        raise
    return client


def logs_in(port: int, user: User) -> bool:
    try:
        connect(port, user).close()
    except OperationFailure as error:
        if error.code != REFUSED:
            raise
        return False
    return True


def is_password(password: str, credential: dict[str, Any]) -> bool:
    """Whether MongoDB's SCRAM-SHA-256 credential was made from the ASCII `password` (RFC 5802, 7677)."""
    salt = base64.b64decode(credential["salt"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, credential["iterationCount"])
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), base64.b64decode(credential["storedKey"]))


def has_password(port: int, user: User, credentials: dict[str, Any]) -> bool:
    """Whether the user can log in: by what the administrator sees, where that tells, as it is far quicker."""
    credential = credentials.get("SCRAM-SHA-256")
    if credential and user["password"].isascii() and user["password"].isprintable():
        return is_password(user["password"], credential)
    return logs_in(port, user)


def state_of(client: MongoClient[dict[str, Any]], port: int, user: User) -> str:
    database = client[user["database"]]
    found = database.command("usersInfo", user["name"], showCredentials=True)["users"]
    if not found:
        return "missing"
    has = {(role["role"], role["db"]) for role in found[0]["roles"]}
    if has != {(role, user["database"]) for role in user["roles"]}:
        return "roles"
    return "ok" if has_password(port, user, found[0].get("credentials", {})) else "password"


def read(path: str) -> tuple[int, list[User]]:
    said = json.loads(Path(path).read_text())
    return said["port"], said["users"]


def state(path: str) -> dict[str, str]:
    port, users = read(path)
    try:
        client = connect(port, users[0])
    except OperationFailure as error:
        if error.code != REFUSED:
            raise
        return {users[0]["name"]: "password"}  # or missing: one cannot tell without logging in
    try:
        return {user["name"]: state_of(client, port, user) for user in users}
    except NotPrimaryError:
        return {}  # it has left its set, or copies its data: it cannot be asked


def administrator(port: int, wanted: User, current: User | None) -> MongoClient[dict[str, Any]]:
    """A client of the administrator with the wanted password, made or given its new password if need be."""
    if logs_in(port, wanted):
        return connect(port, wanted)
    new = {"pwd": wanted["password"], "roles": wanted["roles"]}
    if current and logs_in(port, current):
        client = connect(port, current)
        client[wanted["database"]].command("updateUser", wanted["name"], **new)
        client.close()
        return connect(port, wanted)
    try:
        client = connect(port)
        client[wanted["database"]].command("createUser", wanted["name"], **new)
        client.close()
    except OperationFailure as error:
        raise Failure(
            f"MongoDB refuses its administrator {wanted['name']}, with the new password and with the "
            "last one: somebody else has set it. Set the secret mongodb/admin to the password it has."
        ) from error
    return connect(port, wanted)


def make(port: int, users: list[User], last: dict[str, User]) -> None:
    client = administrator(port, users[0], last.get(users[0]["name"]))
    for user in users:
        found = state_of(client, port, user)
        if found != "ok":
            verb = "createUser" if found == "missing" else "updateUser"
            client[user["database"]].command(verb, user["name"], pwd=user["password"], roles=user["roles"])
            print(f"{user['name']}: {'made' if found == 'missing' else f'{found} set'}")


def starting(port: int, administrators: list[User]) -> bool:
    """Whether a mongod that is no member of a set has only not read yet which one it is in."""
    for user in administrators:
        if logs_in(port, user):
            client = connect(port, user)
            try:
                client["admin"].command("replSetGetStatus")
            except OperationFailure as error:
                return error.code != NOT_IN_IT and bool(client["local"]["system.replset"].find_one())
            finally:
                client.close()
            return True
    return False


def apply(wanted: str, current: str) -> None:
    port, users = read(wanted)
    last = {user["name"]: user for user in read(current)[1]} if Path(current).exists() else {}
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        client = connect(port)
        hello = client["admin"].command("hello")
        client.close()
        if not hello.get("setName"):
            if not starting(port, [users[0], *list(last.values())[:1]]):
                return
            time.sleep(0.3)
            continue
        try:
            if hello.get("isWritablePrimary"):
                make(port, users, last)
                return
            states = state(wanted)
            if states and all(found == "ok" for found in states.values()):
                return
        except NotPrimaryError:
            pass  # an election came between
        time.sleep(0.3)
    raise Failure(f"the primary has not made the users, within {WAIT // 1000} s: is it in this run?")


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["state"] and len(arguments) == 2:
            print(json.dumps(state(arguments[1])))
        elif arguments[:1] == ["apply"] and len(arguments) == 3:
            apply(arguments[1], arguments[2])
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except ServerSelectionTimeoutError:
        print(
            f"MongoDB did not answer in {WAIT // 1000} s: journalctl -u mongod, /var/log/mongodb/mongod.log",
            file=sys.stderr,
        )
        return 1
    except PyMongoError as error:
        print(f"MongoDB: {type(error).__name__}: {getattr(error, 'code', None) or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # pymongo's threads sleep half a second before they end, and Python would wait for them
