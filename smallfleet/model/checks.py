"""What is checked before anything connects: all that is wrong, with file and line, in one error."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from pydantic import ValidationError

from smallfleet.errors import FleetError
from smallfleet.model.derived import app_values
from smallfleet.model.fleet import Fleet
from smallfleet.model.placement import order, placement_problems, spread
from smallfleet.model.roles import KINDS, Role
from smallfleet.model.yamlfile import Where, YamlFile, read_yaml

# What pyinfra or an inventory already calls something else.
RESERVED = {"fleet", "all", "root"}
ROLE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
DROPLET_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SIZE = re.compile(r"([a-z][a-z0-9_.]*-)+[0-9]+(vcpu-[0-9]+)?(gb|mb|gib)(-[a-z0-9.]+)*|[0-9]+(gb|mb)|c-[0-9]+")
IMAGES = ("debian-12-x64", "debian-13-x64", "ubuntu-22-04-x64", "ubuntu-24-04-x64")
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])")
PRIVATE = [ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def checked_roles(fleet: Fleet) -> dict[str, Role]:
    """The roles of a fleet, dependencies first. `FleetError` with all that is wrong in its files."""
    problems = inventory_problems(fleet)
    files, placed = read_files(fleet, problems)
    roles: dict[str, Role] = {}
    # uwsgi before the apps, which take their defaults from it.
    for name in sorted(files, key=lambda name: (files[name].data.get("kind") == "app", name)):
        if role := read_role(fleet, name, files[name], roles, problems):
            roles[name] = role
    problems += placement_problems(fleet, roles, files, placed)
    if problems:
        unique = list(dict.fromkeys(problems))
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise FleetError(
            "\n".join([f"The fleet {fleet.name} has {count}:", *(f"  {problem}" for problem in unique)])
        )
    return {
        name: roles[name] for name in order({name: (*role.on, *role.needs) for name, role in roles.items()})
    }


def inventory_problems(fleet: Fleet) -> list[str]:
    """What is wrong with the fleet by itself, without the role files."""
    problems = []

    def wrong(where: str, text: str) -> None:
        problems.append(f"{where}: {text}")

    if not ROLE_NAME.fullmatch(fleet.name):
        wrong(
            fleet.where, f"name {fleet.name!r}: small letters, digits, - and _ only, it names files and tags"
        )
    if fleet.image not in IMAGES:
        wrong(fleet.where, f"image {fleet.image!r} is none that the deploys know: {', '.join(IMAGES)}")
    if not DOMAIN.fullmatch(fleet.domain):
        wrong(fleet.where, f"domain {fleet.domain!r} is not a domain name such as example.com")
    try:
        vpc = ipaddress.IPv4Network(fleet.vpc)
        if not any(vpc.subnet_of(block) for block in PRIVATE) or not 16 <= vpc.prefixlen <= 28:
            wrong(
                fleet.where,
                f"vpc {fleet.vpc!r} should be a private range between /16 and /28, such as 10.116.0.0/24",
            )
        elif vpc.num_addresses - 3 < len(fleet.droplets):
            wrong(
                fleet.where, f"vpc {fleet.vpc!r} has not enough addresses for {len(fleet.droplets)} droplets"
            )
    except ValueError as error:
        wrong(fleet.where, f"vpc {fleet.vpc!r} is not an IPv4 range: {error}")
    for source in fleet.firewall.ssh_from:
        try:
            ipaddress.ip_network(source)
        except ValueError as error:
            wrong(fleet.firewall.where, f"ssh_from {source!r} is not an address range: {error}")
    for key in fleet.ssh_keys:
        if key.suffix != ".pub":
            wrong(fleet.where, f"ssh_keys {str(key)!r} should be a public key, a file that ends in .pub")
    if not fleet.droplets:
        wrong(fleet.where, "a fleet needs at least one droplet")
    seen: dict[str, str] = {}
    for droplet in fleet.droplets:
        if not DROPLET_NAME.fullmatch(droplet.name):
            wrong(
                droplet.where,
                f"droplet {droplet.name!r}: small letters, digits and - only, it becomes the host's name",
            )
        if droplet.name in seen:
            wrong(droplet.where, f"droplet {droplet.name!r} is there twice, first at {seen[droplet.name]}")
        seen.setdefault(droplet.name, droplet.where)
        if not SIZE.fullmatch(droplet.size):
            wrong(
                droplet.where,
                f"droplet {droplet.name!r}: size {droplet.size!r} is not written like s-1vcpu-1gb",
            )
        for role in sorted({role for role in droplet.roles if droplet.roles.count(role) > 1}):
            wrong(droplet.where, f"droplet {droplet.name!r} has the role {role} twice")
    for balancer in fleet.load_balancers:
        if not DROPLET_NAME.fullmatch(balancer.name):
            wrong(balancer.where, f"load balancer {balancer.name!r}: small letters, digits and - only")
    return problems


def read_files(fleet: Fleet, problems: list[str]) -> tuple[dict[str, YamlFile], dict[str, list[str]]]:
    """The files of all roles that are placed, directly or by `on`, and {droplet: its roles' names}."""
    files: dict[str, YamlFile] = {}
    tried: set[str] = set()
    asked = [("base", fleet.where)] + [
        (role, droplet.where) for droplet in fleet.droplets for role in droplet.roles
    ]
    while asked:
        name, where = asked.pop(0)
        if name in tried and name in files:
            continue
        path = fleet.roles_directory / f"{name}.yml"
        if not ROLE_NAME.fullmatch(name) or name in RESERVED:
            problems.append(f"{where}: {name!r} cannot be the name of a role")
        elif not path.is_file():
            there = ", ".join(sorted(file.stem for file in fleet.roles_directory.glob("*.yml"))) or "none"
            problems.append(
                f"{where}: there is no role {name}: {path} does not exist. The roles are: {there}"
            )
        elif name not in tried and (file := read_yaml(path, problems)):
            file.data = _laid_over(file.data, fleet.overrides.get(name, {}))
            files[name] = file
            on = file.data.get("on", [])
            if isinstance(on, list):
                asked += [(str(other), file.at(("on", index))) for index, other in enumerate(on)]
        tried.add(name)
    for name in fleet.overrides:
        if not (fleet.roles_directory / f"{name}.yml").is_file():
            problems.append(
                f"{fleet.where}: overrides name the role {name!r}, "
                f"but {fleet.roles_directory / name}.yml does not exist"
            )
    ons = {name: [str(other) for other in _list(file.data.get("on"))] for name, file in files.items()}
    return files, {droplet.name: spread(droplet.roles, ons) for droplet in fleet.droplets}


def read_role(
    fleet: Fleet, name: str, file: YamlFile, roles: dict[str, Role], problems: list[str]
) -> Role | None:
    """Check one role file against the model of its kind; what is wrong is added to `problems`."""
    kind = file.data.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        problems.append(f"{file.at(('kind',))}: kind should be one of {', '.join(KINDS)}, it is {kind!r}")
        return None
    if kind != "app" and kind != name:
        problems.append(
            f"{file.at(('kind',))}: a role of kind {kind} is called {kind}: the file should be {kind}.yml"
        )
    if "name" in file.data:
        problems.append(f"{file.at(('name',))}: a role's name is its file's name, take the key name out")
    try:
        values = app_values(fleet, file.data, roles) if kind == "app" else file.data
        return model.model_validate({**values, "name": name})
    except ValidationError as error:
        for fault in error.errors():
            where = _place(fault["loc"], file)
            key = ".".join(str(part) for part in where)
            problems.append(f"{file.at(where)}: {key + ': ' if key else ''}{_in_words(fault)}")
    return None


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mapping by mapping; lists and values are replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _place(loc: tuple[str | int, ...], file: YamlFile) -> Where:
    """pydantic's place of a fault as a path in the file: without its names of union members and of keys."""
    place: list[str | int] = []
    for part in loc:
        named = isinstance(part, int) or (
            part.isidentifier() and part not in ("int", "str", "none", "float", "bool")
        )
        if named or (*place, part) in file.lines:
            place.append(part)
    return tuple(place)


def _in_words(fault: Any) -> str:
    """A fault in the owner's words."""
    kind, got = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return "there is no such key here"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f"{got!r} is not in the form that is asked here ({fault['ctx']['pattern']})"
    text = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{text}, it is {got!r}" if isinstance(got, str | int | float | bool | None) else text
