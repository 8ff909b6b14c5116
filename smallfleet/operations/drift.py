"""Undo what somebody has changed by hand beside the files that the deploys write."""

from __future__ import annotations

from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from smallfleet.facts.drift import HeldPackages, NftDrift, People, StrayDropIns
from smallfleet.operations import Commands

STRAYS = "/var/lib/smallfleet/strays"  # where files go that a deploy takes out of the way


@operation()
def nothing_held() -> Commands:
    """Hold no package back: one that is held gets no security update."""
    held = host.get_fact(HeldPackages)
    if not held:
        host.noop("no package is held back")
        return
    yield StringCommand("apt-mark", "unhold", *(QuoteString(name) for name in held))


@operation()
def people(users: list[str]) -> Commands:
    """
    Let only these people log in. Others' accounts end (`usermod --expiredate`); nothing of theirs is removed,
    and who comes back into the list is let in again.

    + users: names of people's accounts
    """
    there = host.get_fact(People)
    strangers = [name for name, may in there.items() if may and name not in users]
    back = [name for name, may in there.items() if not may and name in users]
    for name in strangers:
        yield StringCommand("usermod", "--lock", "--expiredate", "1", QuoteString(name))
    for name in back:
        yield StringCommand("usermod", "--expiredate", "''", QuoteString(name))
    if not strangers and not back:
        host.noop("only who should may log in")


@operation()
def no_stray_dropins(units: list[str]) -> Commands:
    """
    Take drop-ins away that others have made for our units; they are kept in /var/lib/smallfleet/strays.
    A unit that runs goes on as it was started.

    + units: systemd units, as nginx.service
    """
    strays = host.get_fact(StrayDropIns, units=units)
    if not strays:
        host.noop("no drop-in is another's")
        return
    yield StringCommand("install", "-d", "-m", "0700", STRAYS)
    for path in strays:
        kept = f"{STRAYS}/{PurePosixPath(path).parent.name}_{PurePosixPath(path).name}"
        yield StringCommand("mv", "-f", QuoteString(path), QuoteString(kept))
    yield StringCommand("systemctl", "daemon-reload")


@operation()
def only_these_rules(file: str, table: str) -> Commands:
    """
    Have the kernel filter by the rules of a file alone: rules added by hand go, and tables too.

    + file: what `nft -f` reads
    + table: the table that it makes ("inet smallfleet")
    """
    drift = host.get_fact(NftDrift, file=file, table=table)
    if drift["differs"]:
        yield StringCommand("nft", "-f", QuoteString(file))
    for stray in drift["strays"]:
        yield StringCommand("nft", "delete", "table", stray)
    if not drift["differs"] and not drift["strays"]:
        host.noop("the kernel filters by these rules")
