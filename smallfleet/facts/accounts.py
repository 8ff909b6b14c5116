"""System accounts on the droplet."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand


class Account(TypedDict):
    """A user, and its primary group by name."""

    group: str
    home: str
    shell: str


class SystemAccount(FactBase[Account | None]):
    """The user `user`; None if there is none. pyinfra's `Users` asks for all, with their last logins."""

    def command(self, user: str) -> StringCommand:
        quoted = QuoteString(user)
        return StringCommand("getent", "passwd", quoted, "&&", "id", "-gn", quoted, "||", "true")

    def process(self, output: list[str]) -> Account | None:
        if len(output) < 2:
            return None
        *_, home, shell = output[0].split(":")
        return Account(group=output[1].strip(), home=home, shell=shell)
