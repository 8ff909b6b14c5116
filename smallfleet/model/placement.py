"""How roles go together: on one droplet, and in the fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from smallfleet.model.balancing import PORTS, balancer_problems
from smallfleet.model.fronting import edge_problems, fronted
from smallfleet.model.roles import AppRole, EdgeRole, MongodbRole, Role
from smallfleet.model.yamlfile import YamlFile

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet


def spread(names: Iterable[str], ons: Mapping[str, Iterable[str]]) -> list[str]:
    """`names` with base, and with all that comes `on` them."""
    found: list[str] = []
    queue = ["base", *names]
    while queue:
        name = queue.pop(0)
        if name not in found:
            found.append(name)
            queue += ons.get(name, ())
    return found


def order(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Names with what they depend on before them, base first, else by name. `edges` has no circles."""
    done: list[str] = []

    def visit(name: str) -> None:
        if name in edges and name not in done:
            for other in edges[name]:
                visit(other)
            done.append(name)

    for name in sorted(edges, key=lambda name: (name != "base", name)):
        visit(name)
    return done


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Each circle in `edges` once, as the names around it, the first repeated at the end."""
    found: list[list[str]] = []
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circle = path[path.index(name) :]
            if set(circle) not in [set(other) for other in found]:
                found.append([*circle, name])
        elif name in edges and name not in finished:
            for other in edges[name]:
                visit(other, [*path, name])
            finished.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def placement_problems(
    fleet: Fleet, roles: Mapping[str, Role], files: Mapping[str, YamlFile], placed: Mapping[str, list[str]]
) -> list[str]:
    """Circles, unmet needs, and clashes of domains, databases and ports. `placed`: {droplet: its roles}."""
    problems = []
    for circle in circles({name: (*role.on, *role.needs) for name, role in roles.items()}):
        key = "on" if circle[1] in roles[circle[0]].on else "needs"
        problems.append(
            f"{files[circle[0]].at((key,))}: the roles go round in a circle: {' → '.join(circle)}"
        )
    everywhere = {name for names in placed.values() for name in names}
    for name, role in roles.items():
        for index, need in enumerate(role.needs):
            if need not in everywhere:
                problems.append(
                    f"{files[name].at(('needs', index))}: {name} needs {need}, but no droplet has that role"
                )
    apps = [role for role in roles.values() if isinstance(role, AppRole)]
    databases = [role for role in roles.values() if isinstance(role, MongodbRole)]
    homes = [droplet for droplet, names in placed.items() if any(role.name in names for role in databases)]
    if databases and homes:
        problems += _member_problems(fleet, databases[0], files, homes)
    problems += _domain_clashes(apps, files)
    problems += _database_clashes(apps, files)
    problems += edge_problems(fleet, roles, files, placed)
    problems += balancer_problems(fleet, roles, placed)
    edge_port = next((role.port for role in roles.values() if isinstance(role, EdgeRole)), 0)
    behind = fronted(roles.values(), placed)
    balanced = {role for balancer in fleet.load_balancers for role in balancer.roles}
    for names in placed.values():
        taken = {edge_port: "nginx, for the edge"} if set(behind) & set(names) else {}
        if balanced & set(names):
            taken |= dict.fromkeys(PORTS.values(), "nginx, for the load balancer")
        problems += _port_clashes([roles[name] for name in names if name in roles], files, taken)
    return problems


def _member_problems(
    fleet: Fleet, role: MongodbRole, files: Mapping[str, YamlFile], homes: list[str]
) -> list[str]:
    """Whether there are as many droplets with the role as it has members."""
    wanted, there = role.members, len(homes)
    if wanted == there:
        return []
    on = f"{' and '.join(homes)} {'has' if there == 1 else 'have'} the role {role.name}"
    if there < wanted:
        return [
            f"{files[role.name].at(('members',))}: members: {wanted}, but only {on}: give it to "
            f"{wanted - there} more droplets in the inventory, or say members: 1"
        ]
    advice = "take it from the others"
    if wanted == 1:
        advice += f", or have three and say members: 3 in {files[role.name].path} (a replica set)"
    return [f"{fleet.droplet(homes[wanted]).where}: {on}, but it has members: {wanted}: {advice}"]


def _domain_clashes(apps: Iterable[AppRole], files: Mapping[str, YamlFile]) -> list[str]:
    problems: list[str] = []
    owner: dict[str, str] = {}
    for app in apps:
        for place, domain in [
            (("domain",), app.domain),
            *((("aliases", i), alias) for i, alias in enumerate(app.aliases)),
        ]:
            where = files[app.name].at(place)
            if domain in owner:
                problems.append(f"{where}: the domain {domain} is taken at {owner[domain]}")
            owner.setdefault(domain, where)
    return problems


def _database_clashes(apps: Iterable[AppRole], files: Mapping[str, YamlFile]) -> list[str]:
    problems: list[str] = []
    owner: dict[str, str] = {}
    for app in apps:
        if app.mongodb:
            where = files[app.name].at(("mongodb", "database"))
            if app.mongodb.database in owner:
                problems.append(
                    f"{where}: the database {app.mongodb.database} is taken at {owner[app.mongodb.database]}"
                )
            owner.setdefault(app.mongodb.database, where)
    return problems


def _port_clashes(
    roles: Iterable[Role], files: Mapping[str, YamlFile], taken: Mapping[int, str]
) -> list[str]:
    """Two programs on one droplet that ask for the same port. sshd has 22 everywhere, NGINX 80 and 443."""
    problems: list[str] = []
    owner = {22: "sshd", **taken}
    for role in roles:
        if role.kind == "nginx":
            owner |= {80: "nginx", 443: "nginx"}
    for role in roles:
        ports: list[tuple[tuple[str, ...], int]] = []
        if isinstance(role, MongodbRole):
            ports.append((("port",), role.port))
        if isinstance(role, AppRole) and role.uwsgi and role.uwsgi.port:
            ports.append((("uwsgi", "port"), role.uwsgi.port))
        for place, port in ports:
            where = files[role.name].at(place)
            if port in owner:
                problems.append(f"{where}: the port {port} is taken on the same droplet by {owner[port]}")
            owner.setdefault(port, where)
    return problems
