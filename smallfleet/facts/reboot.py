"""Whether the droplet would come back from a reboot."""

from __future__ import annotations

import json

from pyinfra.api import FactBase, QuoteString, StringCommand

from smallfleet import programs


class RebootProblems(FactBase[list[str]]):
    """What would keep the droplet from coming back as it is now; [] if it would come back.

    The program is sent along, so that a droplet needs nothing to be asked.
    """

    default = list

    def command(self) -> StringCommand:
        return StringCommand("python3", "-c", QuoteString(programs.path("reboot_check").read_text()))

    def process(self, output: list[str]) -> list[str]:
        return list(json.loads(output[-1]))
