"""Which apps have an edge in front of them, and what is wrong with how that was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from smallfleet.model.roles import AppRole, EdgeRole, Role
from smallfleet.model.yamlfile import YamlFile

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet

Placed = Mapping[str, Iterable[str]]  # {droplet: its roles}


def homes_of(role: str, placed: Placed) -> list[str]:
    """The droplets that have `role`, in the inventory's order."""
    return [droplet for droplet, names in placed.items() if role in names]


def fronted(roles: Iterable[Role], placed: Placed) -> list[str]:
    """The names of the apps that the fleet's edge stands in front of; none where there is no edge."""
    known = list(roles)
    edge = next((role for role in known if isinstance(role, EdgeRole)), None)
    if edge is None:
        return []
    apps = [role.name for role in known if isinstance(role, AppRole)]
    if edge.sites is not None:
        return [name for name in apps if name in edge.sites]
    return [name for name in apps if len(homes_of(name, placed)) > 1]


def edge_problems(
    fleet: Fleet, roles: Mapping[str, Role], files: Mapping[str, YamlFile], placed: Placed
) -> list[str]:
    """An edge on two droplets, without a site, on the droplet of its own site; sites that are none."""
    edge = next((role for role in roles.values() if isinstance(role, EdgeRole)), None)
    if edge is None:
        return []
    problems = []
    homes = homes_of(edge.name, placed)
    if len(homes) > 1:
        problems.append(
            f"{fleet.droplet(homes[1]).where}: edge is on {' and '.join(homes)}: a fleet has one edge droplet"
        )
    for index, name in enumerate(edge.sites or ()):
        if not isinstance(roles.get(name), AppRole):
            problems.append(
                f"{files[edge.name].at(('sites', index))}: {name} is no app on a droplet of the fleet"
            )
    sites = fronted(roles.values(), placed)
    if not sites and not problems:
        problems.append(
            f"{fleet.droplet(homes[0]).where}: {homes[0]} is an edge with nothing behind it: no app is on "
            f"more than one droplet. Take it out, or name apps in {files[edge.name].path}: sites: [podcast]"
        )
    for home in homes:
        for name in sites:
            if name in placed[home]:
                problems.append(
                    f"{fleet.droplet(home).where}: {home} is the edge in front of {name} and has {name} "
                    "itself: NGINX would have two vhosts of one name. Put one of them on another droplet"
                )
    return problems
