"""A file as one fact: what is in it, by hash, and who may read it."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand


class State(TypedDict):
    """A regular file. `mode` is octal text without leading zeros, "400"."""

    sha256: str
    user: str
    group: str
    mode: str


class FileState(FactBase[State | None]):
    """The state of the file at `path`; None where there is no regular file."""

    def command(self, path: str) -> StringCommand:
        quoted = QuoteString(path)
        return StringCommand(
            *("if", "test", "-f", quoted, "&&", "!", "test", "-L", quoted, ";", "then"),
            *("stat", "-c", "'%U %G %a'", quoted, "&&", "sha256sum", "<", quoted, ";", "fi"),
        )

    def process(self, output: list[str]) -> State | None:
        if len(output) < 2:
            return None
        user, group, mode = output[0].split()
        return State(sha256=output[1].split()[0], user=user, group=group, mode=mode)
