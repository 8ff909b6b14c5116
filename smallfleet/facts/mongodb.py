"""MongoDB as it is on the droplet."""

from __future__ import annotations

import json
from typing import Literal, TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand

UserState = Literal["ok", "missing", "password", "roles"]


class MongodbUsers(FactBase[dict[str, UserState]]):
    """The state of each user in the file `users` (see programs/mongodb_users.py); {} where mongod does not
    run or nothing has been set up yet. A user that is not in the answer is not there."""

    default = dict

    def command(self, python: str, program: str, users: str) -> StringCommand:
        return StringCommand(
            *("if", "systemctl", "-q", "is-active", "mongod", "&&", "test", "-x", QuoteString(python)),
            *("&&", "test", "-f", QuoteString(program), "&&", "test", "-f", QuoteString(users), ";", "then"),
            *(QuoteString(python), QuoteString(program), "state", QuoteString(users), ";", "fi"),
        )

    def process(self, output: list[str]) -> dict[str, UserState]:
        return json.loads(output[-1]) if output else {}


class Member(TypedDict):
    """`state` is MongoDB's word; `lag` seconds behind the member that is furthest."""

    state: str
    healthy: bool
    lag: float
    votes: int
    priority: float


class SetState(TypedDict):
    """`state`: of this member, in MongoDB's word, or "fresh" (in no set yet), "alone" (not started as a
    member of one), "silent". `members`: {"address:port": …}; `problems`: of those that should be members."""

    state: str
    members: dict[str, Member]
    settings: dict[str, int | None]
    problems: list[str]


def no_set() -> SetState:
    return SetState(state="silent", members={}, settings={}, problems=["mongod does not run"])


class MongodbSet(FactBase[SetState]):
    """MongoDB's replica set as the member on this droplet sees it (see programs/mongodb_set)."""

    default = staticmethod(no_set)

    def command(self, python: str, program: str, set: str, users: str) -> StringCommand:
        return StringCommand(
            *("if", "systemctl", "-q", "is-active", "mongod", "&&", "test", "-x", QuoteString(python)),
            *("&&", "test", "-f", QuoteString(program), "&&", "test", "-f", QuoteString(set), ";", "then"),
            *(QuoteString(python), QuoteString(program), "state", QuoteString(set), QuoteString(users)),
            *(";", "fi"),
        )

    def process(self, output: list[str]) -> SetState:
        found: SetState = json.loads(output[-1]) if output else no_set()
        return found
