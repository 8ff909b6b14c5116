"""What a droplet answers that has just been created: recorded, by the fleet's image.

A record holds commands, as facts send them, and the lines that they print. A command that is not in it
prints nothing, which facts take for "not there".
`python -m smallfleet.plan.pristine INVENTORY DROPLET` records anew.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent
FALLBACK = "debian-12"
CONTAINER = "/run/systemd/container"  # the fact Container reads it
LAB_ALONE = "/etc/uv"  # what the lab's image has and the cloud's has not
_TIMES = re.compile(r"\b([acm]time)=\d+")


def worth_recording(command: str, lines: list[str]) -> list[str]:
    """The lines of a command as a record has them; [] for what says that something is not there.

    Also for what is made for each droplet, and not taken from a record: its clock, kind and addresses.
    """
    if command.startswith("date +") or CONTAINER in command or "addr show" in command:
        return []
    if lines == ["{}"] or any(line.startswith("__pyinfra_missing_") for line in lines):
        return []
    if any(line in ("SubState=dead", "UnitFileState=") for line in lines):
        return []
    return [_TIMES.sub(r"\1=0", line) for line in lines]


class Pristine:
    """The answers of a new droplet of one image."""

    def __init__(self, answers: dict[str, list[str]], container: bool) -> None:
        self._answers, self._container = answers, container

    @classmethod
    def of(cls, fleet: Any) -> Pristine:
        """The record for the fleet's image; Debian 12's for an image that has none."""
        path = RECORDS / f"{fleet.image.rsplit('-', 1)[0]}.json"
        record = json.loads((path if path.exists() else RECORDS / f"{FALLBACK}.json").read_text())
        return cls(record["answers"], container=fleet.lab_name is not None)

    def answer(self, command: str, addresses: dict[str, str]) -> list[str]:
        """The lines that `command` prints. `addresses`: the droplet's, as far as they are known."""
        if command.startswith("date +"):
            return [time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime())]
        if CONTAINER in command:
            return ["systemd-nspawn"] if self._container else []
        if "addr show" in command:
            return [json.dumps(_interfaces(addresses["private"]))]
        if "cloud-init status" in command and not self._container:
            return ["status: running"]  # it answers on SSH while it sets itself up
        if LAB_ALONE in command and not self._container:
            return []
        return self._answers.get(command, [])


def _interfaces(private: str) -> list[dict[str, Any]]:
    """A droplet's interfaces, as `ip -j addr` has them: eth0 is public, eth1 is in the VPC."""
    inside = {"family": "inet", "local": private, "prefixlen": 24}
    up = {"mtu": 1500, "operstate": "UP"}
    return [{"ifname": "eth0", **up, "addr_info": []}, {"ifname": "eth1", **up, "addr_info": [inside]}]
