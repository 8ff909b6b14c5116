"""Ansible's inventory of a fleet: the same model, addresses and secrets that the deploys are given.

    python bench/ansible/inventory.py inventory/lab.py DIRECTORY

From a directory with the owner's rooms. Writes DIRECTORY/hosts.json, and what holds secrets or is computed
beside it, for root alone; prints the path of hosts.json. Ansible is given the file, not this program: so it
need not ask the cloud's API nor open the secrets in each of its runs, as ours does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from smallfleet import programs
from smallfleet.cloud.client import Client
from smallfleet.cloud.survey import address, survey
from smallfleet.context import Context
from smallfleet.inventory import load_inventory
from smallfleet.lab.descriptor import write_private
from smallfleet.model.fleet import Droplet, Fleet
from smallfleet.model.roles import AppRole, AppUwsgi, MongodbRole
from smallfleet.operations import mongodb, tls
from smallfleet.webapp import environment_file, release_spec
from smallfleet.who import who


def context_of(fleet: Fleet, droplet: Droplet, addresses: dict[str, dict[str, str]]) -> Context:
    """What a deploy script sees of the droplet; only what asks a droplet itself cannot be had."""
    data = {"fleet": fleet, "droplet": droplet, "addresses": addresses}
    return Context(SimpleNamespace(name=droplet.name, data=data), fleet, droplet)


def app_of(context: Context, app: AppRole) -> dict[str, Any]:
    """An app's role as the templates read it, and what deploys/nginx.py, tls.py and uwsgi.py compute."""
    server = context.role("nginx").tls
    names = [app.domain, *app.aliases]
    return app.model_dump(mode="json") | {
        "uwsgi": (app.uwsgi or AppUwsgi()).model_dump(mode="json"),
        "peers": context.peers_of(app.name),
        "timeout": (app.uwsgi.harakiri if app.uwsgi else 30) + 5,
        "certbot": tls.certbot_command(app.name, names, server.directory, server.email),
    }


def directories_of(app: AppRole) -> list[dict[str, str]]:
    root = f"/srv/{app.name}"
    made = [
        (root, "root", "0755"),
        (f"{root}/releases", "root", "0755"),
        (f"{root}/.cache", app.name, "0700"),
    ]
    made += [(app.files.directory, app.name, "0755")] if app.files else []
    return [{"path": path, "owner": owner, "mode": mode} for path, owner, mode in made]


def units_of(app: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = [
        ("app.service.j2", ".service", False),
        ("app.socket.j2", ".socket", False),
        ("app@.service.j2", "@.service", False),
        ("app@.service.j2", "-candidate@.service", True),
    ]
    return [
        {"template": template, "name": app["name"] + ending, "candidate": candidate, "site": app}
        for template, ending, candidate in kinds
    ]


def database_of(context: Context, directory: Path) -> dict[str, Any] | None:
    """MongoDB's role with what deploys/mongodb.py computes; its secrets are written into the directory."""
    roles = [context.role(name) for name in context.roles]
    role = next((role for role in roles if isinstance(role, MongodbRole)), None)
    if role is None:
        return None
    write_private(directory / "keyfile", context.secret("mongodb/keyfile").reveal().strip() + "\n")
    users = [{"name": "admin", "database": "admin", "roles": ["root"], "secret": "mongodb/admin"}]
    users += [
        {
            "name": app.name,
            "database": app.mongodb.database,
            "roles": ["readWrite"],
            "secret": f"mongodb/{app.name}",
        }
        for app in context.fleet.apps
        if app.mongodb
    ]
    for user in users:
        user["password"] = context.secret(str(user.pop("secret"))).reveal()
    write_private(directory / "users.json", json.dumps({"port": role.port, "users": users}, indent=1) + "\n")
    source = mongodb.source(role, context.fleet.image)
    members = {context.droplet.name: context.private_address}
    spec = mongodb.set_spec(role, context.private_address, members)
    write_private(directory / "set.json", json.dumps(spec, indent=1) + "\n")
    return vars(source) | {
        "set": spec["name"],
        "port": role.port,
        "cache": mongodb.cache_size(role.cache, context.droplet.size, alone=not context.apps),
        "packages": list(role.archive.packages),
    }


def host_of(context: Context, directory: Path) -> dict[str, Any]:
    """The droplet's variables; what is secret goes into files in the directory."""
    fleet, image = context.fleet, context.fleet.image
    new_http2 = image.startswith("debian-13")
    apps = [app_of(context, app) for app in context.apps]
    for app in context.apps:
        if app.app:
            write_private(directory / f"{app.name}.env", environment_file(context, app))
            write_private(directory / f"{app.name}.json", json.dumps(release_spec(app), indent=1) + "\n")
    return {
        "ansible_host": context.public_address,
        "droplet": context.droplet.name,
        "private_address": context.private_address,
        "vpc": fleet.vpc,
        "base": context.role("base").model_dump(mode="json"),
        "nginx": context.role("nginx").model_dump(mode="json") if context.has("nginx") else None,
        "http2_on": new_http2,
        "http2_listen": "" if new_http2 else " http2",
        "reject_handshake": not image.startswith("ubuntu-22"),
        "tls": {"hook": tls.HOOK},
        # No edge and no load balancer: all sites are reached on their droplets.
        "web": True,
        "edge": None,
        "front": None,
        "balancer": None,
        "balanced": None,
        "alive": None,
        "units": context.units,
        "apps": apps,
        "directories": [directory for app in context.apps for directory in directories_of(app)],
        "units_of_apps": [unit for app in apps for unit in units_of(app)],
        "database": database_of(context, directory),
    }


def inventory(fleet: Fleet, directory: Path) -> dict[str, Any]:
    """Ansible's inventory of all droplets of the fleet, which exist, with a group per kind of role."""
    found = survey(Client(fleet.end_point, fleet.token()), fleet)
    addresses = {
        name: {"public": str(address(droplet, "public")), "private": str(address(droplet, "private"))}
        for name, droplet in found.droplets.items()
    }
    contexts = [context_of(fleet, droplet, addresses) for droplet in fleet.droplets]
    write_private(directory / "smallfleet-release", programs.text("release"))
    write_private(directory / "mongodb_set.py", programs.text("mongodb_set"))
    rooms = Path.cwd()
    return {
        "all": {
            "hosts": {context.droplet.name: host_of(context, directory) for context in contexts},
            "children": {
                kind: {"hosts": {context.droplet.name: {} for context in contexts if context.has(kind)}}
                for kind in ("mongodb", "nginx")
            },
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(fleet.ssh_key),
                "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={fleet.known_hosts}",
                "public_keys": [key.read_text().strip() for key in fleet.ssh_keys],
                "rooms": str(rooms),
                "private": str(directory),
                "programs": str(programs.path("maintenance").parent),
                "author": who(),
            },
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("inventory", type=Path)
    parser.add_argument("directory", type=Path)
    wanted = parser.parse_args()
    directory = wanted.directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    hosts = directory / "hosts.json"
    write_private(hosts, json.dumps(inventory(load_inventory(wanted.inventory), directory), indent=1) + "\n")
    print(hosts)


if __name__ == "__main__":
    main()
