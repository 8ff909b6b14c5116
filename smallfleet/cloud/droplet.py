"""A droplet as the cloud's API tells of it."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def address(droplet: Json, kind: str) -> str | None:
    """The droplet's IPv4 address, `kind` public or private; None while it has none."""
    for network in droplet.get("networks", {}).get("v4", []):
        if network["type"] == kind:
            return str(network["ip_address"])
    return None
