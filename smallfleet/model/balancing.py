"""DigitalOcean's load balancers: which apps are behind one, and what is wrong with how that was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smallfleet.model.fronting import Placed, fronted, homes_of
from smallfleet.model.roles import AppRole, Role

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet

# Where NGINX answers a load balancer, which says by the PROXY protocol who asks: {its port: the droplets'}.
PORTS = {80: 8081, 443: 8443}
ALIVE = "/.smallfleet/alive"  # what a load balancer asks a droplet for
# The quickest that DigitalOcean's checks can be. A droplet is out after two that failed.
CHECK_SECONDS = 3
CHECKS = 2
UNIT_PRICE = 12.0  # USD a month for each node (size_unit); DigitalOcean's API does not tell it


def noticed_seconds() -> int:
    """Seconds after which a load balancer has surely noticed that a droplet wants no requests, or does."""
    return CHECK_SECONDS * (CHECKS + 1) + 2


def balancer_problems(fleet: Fleet, roles: Mapping[str, Role], placed: Placed) -> list[str]:
    """Names that are taken, roles that are no app or not side by side, apps that have two things in front."""
    problems: list[str] = []
    behind = fronted(roles.values(), placed)
    taken = {droplet.name: f"a droplet at {droplet.where}" for droplet in fleet.droplets}
    owner: dict[str, str] = {}
    for balancer in fleet.load_balancers:
        where = f"{balancer.where}: load balancer {balancer.name!r}"
        if balancer.name in taken:
            problems.append(f"{where}: the name is taken by {taken[balancer.name]}")
        taken.setdefault(balancer.name, f"a load balancer at {balancer.where}")
        homes = {tuple(homes_of(role, placed)) for role in balancer.roles}
        for role in balancer.roles:
            if not isinstance(roles.get(role), AppRole):
                problems.append(f"{where}: {role} is no app on a droplet of the fleet")
            elif role in behind:
                problems.append(f"{where}: {role} has an edge in front of it already")
            elif role in owner:
                problems.append(f"{where}: {role} has the load balancer {owner[role]} already")
            owner.setdefault(role, balancer.name)
        if len(homes) > 1:
            problems.append(
                f"{where}: {', '.join(balancer.roles)} are not on the same droplets, and it sends each "
                "request to any of them: give each role a load balancer of its own"
            )
    return problems
