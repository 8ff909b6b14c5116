"""Which secrets a fleet needs, which of them a droplet gets, and new ones."""

from __future__ import annotations

import base64
import secrets as random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from smallfleet.errors import FleetError
from smallfleet.model.roles import AppRole, MongodbRole, Role
from smallfleet.secrets.file import Secrets, locked
from smallfleet.secrets.secret import Secret

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet

ADMIN = "mongodb/admin"
KEYFILE = "mongodb/keyfile"


def required_secrets(fleet: Fleet) -> list[str]:
    """The names of all secrets that the fleet's roles need, each once. The API's token is not among them."""
    return _of(fleet, fleet.roles.values())


def secrets_of(fleet: Fleet, roles: Iterable[str]) -> list[str]:
    """Names of the secrets a droplet with `roles` gets: its apps' own; all of MongoDB's on the database's."""
    return _of(fleet, [fleet.roles[name] for name in roles])


def _of(fleet: Fleet, roles: Iterable[Role]) -> list[str]:
    names: list[str] = []
    for role in roles:
        if isinstance(role, MongodbRole):
            names += [ADMIN, KEYFILE]
            names += [f"mongodb/{app.name}" for app in fleet.apps if app.mongodb]
        if isinstance(role, AppRole):
            if role.mongodb:
                names.append(f"mongodb/{role.name}")
            if role.app:
                names += [f"{role.name}/{name}" for name in role.app.secrets]
    return list(dict.fromkeys(names))


def missing_secrets(fleet: Fleet) -> list[str]:
    """The names of required secrets that are not set."""
    there = fleet.open_secrets()
    return [name for name in required_secrets(fleet) if name not in there]


def check_secrets(fleet: Fleet) -> None:
    """`FleetError` with the missing names and the command that sets them; nothing if all are there."""
    if missing := missing_secrets(fleet):
        raise FleetError(
            f"{fleet.secrets_file} lacks secrets that the roles need: {', '.join(missing)}.\n"
            f"New random ones:   fleet secrets generate {fleet.inventory}\n"
            f"One of your own:   fleet secrets set {fleet.inventory} NAME"
        )


def new_secret(name: str) -> Secret:
    """A new random secret: 256 bits, safe in URLs; the keyfile in the form that MongoDB wants."""
    if name == KEYFILE:
        return Secret(
            base64.b64encode(random.token_bytes(756)).decode()
        )  # 1,008 characters; MongoDB takes 6 to 1,024
    return Secret(random.token_urlsafe(32))


def generate_missing(fleet: Fleet) -> list[str]:
    """Make the required secrets that are missing and save them; returns their names."""
    if not missing_secrets(fleet):
        return []
    return change(fleet, {name: None for name in required_secrets(fleet)}, keep=True)


def change(fleet: Fleet, changes: dict[str, Secret | None], keep: bool = False) -> list[str]:
    """Set secrets (None: a random one) and save; `keep` leaves those that are set. Returns what changed."""
    with locked(fleet.secrets_file):
        there = Secrets.open(fleet.secrets_file, [fleet.ssh_key])
        fresh = {
            name: secret if secret is not None else new_secret(name)
            for name, secret in changes.items()
            if not (keep and name in there)
        }
        if fresh:
            there.with_(fresh).save(fleet.ssh_keys)
    fleet.forget_secrets()
    return list(fresh)
