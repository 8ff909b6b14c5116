"""MongoDB as it is on the droplet."""

from __future__ import annotations

import json
from typing import Literal

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
