"""How to get onto a lab's droplets from the machine: their names, and SSH with keys that the lab has made."""

from __future__ import annotations

import json
from typing import Any

from smallfleet.lab.descriptor import Lab, write_private
from smallfleet.lab.errors import LabError
from smallfleet.lab.injection import host_keys


def droplets(lab: Lab) -> dict[int, dict[str, Any]]:
    """What the lab keeps of each droplet (machine.json: spec, layers, on), by id."""
    files = lab.path.glob("droplets/*/machine.json")
    found = {int(path.parent.name): json.loads(path.read_text()) for path in files}
    return dict(sorted(found.items()))


def ssh_command(lab: Lab, droplet: str, command: list[str]) -> list[str]:
    """Words that run `command` as root on the droplet of that name; a shell if empty. `LabError` if none."""
    named = [(id, kept["spec"]) for id, kept in droplets(lab).items() if kept["spec"]["name"] == droplet]
    if not named:
        names = ", ".join(sorted(kept["spec"]["name"] for kept in droplets(lab).values()))
        raise LabError(f"Lab {lab.name} has no droplet {droplet!r}. It has: {names or 'none yet'}.")
    id, spec = named[-1]
    address = spec["public_address"]
    # The lab made the host keys, so that it can say what they are: nothing is taken on trust.
    pins = lab.path / "droplets" / str(id) / "known_hosts"
    keys = host_keys(lab.path / "droplets" / str(id) / "upper")
    write_private(pins, "".join(f"{address} {key}\n" for key in keys))
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(pins),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
        # A droplet that goes away in the middle ends the command, in half a minute.
        "ConnectTimeout": "10",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ["ssh", "-F", "none", "-i", lab.ssh_key, *words, f"root@{address}", *command]
