"""systemd's units, several in one question."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.facts.systemd import SystemdEnabled, SystemdStatus


class UnitState(TypedDict):
    """`running` and `enabled` as pyinfra's facts about systemd mean them."""

    running: bool
    enabled: bool


class UnitStates(FactBase[dict[str, UnitState]]):
    """The states of `units` by name; neither running nor enabled where there is no such unit."""

    default = dict

    def command(self, units: list[str]) -> StringCommand:
        properties = ("--property", "Id,SubState,UnitFileState")
        return StringCommand("systemctl", "show", *properties, *(QuoteString(unit) for unit in units))

    def process(self, output: list[str]) -> dict[str, UnitState]:
        found: dict[str, UnitState] = {}
        for block in "\n".join(output).split("\n\n"):
            said = dict(line.strip().partition("=")[::2] for line in block.splitlines() if "=" in line)
            if "Id" in said:
                found[said["Id"]] = UnitState(
                    running=said.get("SubState") in SystemdStatus.state_values,
                    enabled=said.get("UnitFileState") in SystemdEnabled.state_values,
                )
        return found
