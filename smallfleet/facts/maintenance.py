"""Which sites of the droplet are in maintenance."""

from __future__ import annotations

import json
from typing import TypedDict

from pyinfra.api import FactBase

PROGRAM = "/usr/local/sbin/smallfleet-maintenance"


class State(TypedDict):
    """`since` and `until` are seconds since 1970."""

    since: float
    until: float
    message: str
    reason: str


class Maintenance(FactBase[dict[str, State]]):
    """The sites that are in maintenance now, by name."""

    default = dict

    def command(self) -> str:
        return f"if [ -x {PROGRAM} ]; then {PROGRAM} status; else echo '{{}}'; fi"

    def process(self, output: list[str]) -> dict[str, State]:
        return dict(json.loads(output[-1])) if output else {}
