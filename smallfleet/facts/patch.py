"""What a droplet's updates are, and what they make it need."""

from __future__ import annotations

import json
from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand

from smallfleet import programs


class Update(TypedDict):
    """A pending update. `from` and `to` are versions; `sources` name archive and suite."""

    name: str
    to: str
    sources: list[str]
    security: bool


class Patch(TypedDict):
    """`reboot` and `restart`: why a reboot is due now, and the services that run with replaced files.

    `then_…`: the same for when the pending updates will be in. `boot`: seconds that the last boot took."""

    pending: list[Update]
    reboot: list[str]
    restart: list[str]
    then_reboot: list[str]
    then_restart: list[str]
    boot: float


def nothing() -> Patch:
    """A droplet that is up to date."""
    return Patch(pending=[], reboot=[], restart=[], then_reboot=[], then_restart=[], boot=0.0)


def patch_command(*words: str) -> StringCommand:
    """programs/patch.py, sent along: a droplet needs nothing to be asked."""
    return StringCommand("python3", "-c", QuoteString(programs.path("patch").read_text()), *words)


class PatchPlan(FactBase[Patch]):
    """The droplet's pending updates and needs. `refresh`: fetch the packages' lists first if they are old."""

    default = staticmethod(nothing)

    def command(self, refresh: bool = False, security_only: bool = False) -> StringCommand:
        flags = [*(["--refresh"] if refresh else []), *(["--security-only"] if security_only else [])]
        return patch_command("plan", *flags)

    def process(self, output: list[str]) -> Patch:
        found: Patch = json.loads(output[-1]) if output else nothing()
        return found
