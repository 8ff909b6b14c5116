"""A file as one fact: what is in it, by hash, and who may read it."""

from __future__ import annotations

import stat
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


class FileStates(FactBase[dict[str, State]]):
    """The states of the regular files among `paths`, by path."""

    default = dict

    def command(self, paths: list[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        return StringCommand(
            *("stat", "-c", "'%f %U %G %n'", *quoted, "2>/dev/null;"),
            *("sha256sum", *quoted, "2>/dev/null", "||", "true"),
        )

    def process(self, output: list[str]) -> dict[str, State]:
        hashes, states = {}, {}
        for line in output:
            first, _, rest = line.partition(" ")
            if len(first) == 64:
                hashes[rest.strip()] = first
            else:
                states[line.split(" ", 3)[3]] = line.split(" ", 3)[:3]
        return {
            path: State(sha256=hashes[path], user=user, group=group, mode=f"{int(raw, 16) & 0o7777:o}")
            for path, (raw, user, group) in states.items()
            if stat.S_ISREG(int(raw, 16)) and path in hashes
        }


class Directory(TypedDict):
    """`mode` is octal text without leading zeros, "755"."""

    user: str
    group: str
    mode: str


class Directories(FactBase[dict[str, Directory]]):
    """The directories among `paths`, by path; a link to one is none."""

    default = dict

    def command(self, paths: list[str]) -> StringCommand:
        quoted = (QuoteString(path) for path in paths)
        return StringCommand("stat", "-c", "'%f %U %G %n'", *quoted, "2>/dev/null", "||", "true")

    def process(self, output: list[str]) -> dict[str, Directory]:
        found = {}
        for line in output:
            raw, user, group, path = line.split(" ", 3)
            if stat.S_ISDIR(int(raw, 16)):
                found[path] = Directory(user=user, group=group, mode=f"{int(raw, 16) & 0o7777:o}")
        return found
