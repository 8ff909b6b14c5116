"""The set, asked from the droplet of one of its members."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ConnectionFailure, OperationFailure, PyMongoError

from smallfleet.programs.mongodb_set.steps import Json, members_of

Client = MongoClient[Json]

REFUSED = 18  # AuthenticationFailed
NOT_IN_IT = 93  # InvalidReplicaSetConfig: the set went on without it
# A reconfiguration that waits for the one before it: ConfigurationInProgress, CurrentConfigNotCommittedYet.
LATER = (109, 308)
PATIENCE = 120.0  # seconds without any progress
ANSWER = 3000  # milliseconds for one mongod to answer
ELECTION = 10_000  # milliseconds for the set to have a primary
NOBODY_LEADS = "MongoDB's set has no primary that can be reached"
START = 60.0  # seconds for mongod to answer, after a start with much to recover

# "starting": it has not read yet which set it is in; "former": its set went on without it, it can come back;
# "data": in no set yet, with our administrator; "fresh": without it.
Kind = Literal["member", "starting", "former", "data", "fresh", "silent"]


class Failure(Exception):
    """What the owner is told."""


class NoPrimary(Failure):
    """Nobody can write at the moment: an election, or most members are away."""


class Set:
    """The set that SET describes, asked from this droplet."""

    def __init__(self, spec: Json, users: Path) -> None:
        self.spec, self.users = spec, users
        self._through: Client | None = None

    def name(self, host: str) -> str:
        return str(self.spec["names"].get(host, host))

    def logins(self) -> list[Json]:
        """What the administrator may log in with: what a run that was cut off wanted, and the last."""
        found = []
        for path in (Path(f"{self.users}.wanted"), self.users):
            if path.exists():
                admin = json.loads(path.read_text())["users"][0]
                words = {"username": admin["name"], "password": admin["password"]}
                found.append({**words, "authSource": admin["database"]})
        return found

    def client(self, host: str, login: Json | None = None, wait: int = ANSWER) -> Client:
        """A client of this one mongod. OperationFailure (REFUSED) on a wrong password; PyMongoError."""
        client: Client = MongoClient(
            host, directConnection=True, serverSelectionTimeoutMS=wait, appname="smallfleet", **(login or {})
        )
        try:
            client["admin"].command("ping")
        except BaseException:
            client.close()
            raise
        return client

    def entered(self, host: str, wait: int = ANSWER) -> Client | None:
        """A client of this one mongod as the administrator; None where it does not know it."""
        for login in self.logins():
            try:
                return self.client(host, login, wait)
            except OperationFailure as error:
                if error.code != REFUSED:
                    raise
        return None

    @property
    def here(self) -> str:
        return f"127.0.0.1:{self.spec['port']}"

    def hello(self, host: str, wait: int = ANSWER) -> Json:
        client = self.client(host, wait=wait)
        try:
            return dict(client["admin"].command("hello"))
        finally:
            client.close()

    def kind(self, host: str) -> Kind:
        """What the mongod at `host` is to a set that it may become a member of."""
        try:
            if self.hello(host).get("setName"):
                return "member"
            client = self.entered(host)
        except PyMongoError:
            return "silent"
        if client is None:
            return "fresh"
        try:
            client["admin"].command("replSetGetStatus")
            return "member"
        except OperationFailure as error:
            if error.code == NOT_IN_IT:
                return "former"
            return "starting" if client["local"]["system.replset"].find_one() else "data"
        except PyMongoError:
            return "silent"
        finally:
            client.close()

    def settled(self) -> Json:
        """This member's hello, when it answers and has read who is in its set, which is a moment later."""
        found: Json = {}

        def known() -> bool:
            found.clear()
            found.update(self.hello(self.here))
            return bool(found.get("setName")) or self.kind(self.here) not in ("starting", "silent")

        until(known, "mongod has not answered", START)
        return found

    def primary(self, wait: int = ELECTION) -> Client:
        """A client whose commands go to the primary, whichever it is. Failure if there is none."""
        if self._through is None:
            hosts = list(dict.fromkeys([*self.spec["members"], self.spec["me"]]))
            for login in self.logins():
                client: Client = MongoClient(
                    hosts, replicaSet=self.spec["name"], serverSelectionTimeoutMS=wait, **login
                )
                try:
                    client["admin"].command("ping")
                except OperationFailure as error:
                    client.close()
                    if error.code != REFUSED:
                        raise
                except ConnectionFailure as error:
                    client.close()
                    raise NoPrimary(NOBODY_LEADS) from error
                else:
                    self._through = client
                    break
            else:
                raise Failure(
                    "MongoDB refuses its administrator: set the secret mongodb/admin to its password"
                )
        return self._through

    def view(self) -> tuple[Json, dict[str, Json]]:
        """Configuration and members, as the primary has them."""
        admin = self.primary()["admin"]
        config = admin.command("replSetGetConfig")["config"]
        return config, members_of(admin.command("replSetGetStatus"), config)

    def electable(self) -> None:
        """Let this member become primary again, if it stepped down itself within the last minute."""
        client = self.entered(self.here)
        if client:
            client["admin"].command("replSetFreeze", 0)
            client.close()

    def step_down(self) -> None:
        """Have the primary hand over to one that has all its writes. Failure where none can have them."""
        try:
            self.primary()["admin"].command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=20)
        except AutoReconnect:
            pass  # it did
        except OperationFailure as error:
            raise Failure(f"no other member could take over: {error.details}") from error

    def reconfigure(self, config: Json) -> None:
        """Have the primary take the configuration on, once the one before it has been."""
        config["version"] += 1
        try:
            self.primary()["admin"].command("replSetReconfig", config, maxTimeMS=30_000)
        except OperationFailure as error:
            if error.code not in LATER:
                raise Failure(f"MongoDB refuses the change of its set: {error.details}") from error
            time.sleep(0.2)


def until(done: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for `done()`; lost connections are part of an election. Failure with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            if done():
                return
        except (ConnectionFailure, NoPrimary):
            pass
        if time.monotonic() > end:
            raise Failure(f"{what}, within {seconds:.0f} s")
        time.sleep(0.1)
