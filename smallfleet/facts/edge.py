"""Which droplets an edge sends no requests to."""

from __future__ import annotations

from pyinfra.api import FactBase

# In memory: a reboot of the edge ends it too. NGINX looks at it (templates/nginx/edge.conf.j2).
AWAY = "/run/smallfleet-edge/away"

# On a droplet behind a load balancer: it says that it wants no requests (templates/nginx/nginx.conf.j2).
LEAVING = "/run/smallfleet-leaving"


class DropletsAway(FactBase[list[str]]):
    """The droplets that this edge sends nothing to, as their traffic was moved away."""

    default = list

    def command(self) -> str:
        return f"ls -1 {AWAY} 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        return [line.strip() for line in output if line.strip()]
