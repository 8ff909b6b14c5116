"""What an app is told about where it runs: its environment, and what its release program reads."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from smallfleet.context import Context
from smallfleet.errors import FleetError
from smallfleet.model.replicas import SET
from smallfleet.model.roles import AppRole


def environment(context: Context, app: AppRole) -> dict[str, str]:
    """The app's variables, secrets in clear: for `operations.secrets.file` alone."""
    assert app.app is not None, "a site without an app has no environment"
    variables = dict(app.app.environment)
    variables["SITE_URL"] = f"https://{app.domain}"
    if app.files:
        variables["FILES_DIR"] = app.files.directory
        variables["FILES_URL"] = app.files.url
    if app.mongodb:
        variables["MONGODB_URL"] = mongodb_url(context, app)
    for name in app.app.secrets:
        variables[name.upper()] = context.secret(f"{app.name}/{name}").reveal()
    return variables


def mongodb_url(context: Context, app: AppRole) -> str:
    """mongodb://USER:PASSWORD@PRIVATE:PORT,…/DATABASE, all members; each user is one of its own database.

    A connection is made within a second or tried again: a droplet that reboots answers nothing, and who began
    to connect just before it was back would wait for the kernel's own repetitions. What an election comes
    between is tried once more, and a write is acknowledged when most members have it, so that none is lost.
    """
    assert app.mongodb is not None
    role = next(name for name in context.fleet.roles if context.fleet.roles[name].kind == "mongodb")
    addresses = context.private_addresses_of(role)
    if not addresses:
        raise FleetError(f"The app {app.name} has a database, but no droplet has the role {role}.")
    password = quote(context.secret(f"mongodb/{app.name}").reveal(), safe="")
    hosts = ",".join(f"{address}:{context.role(role).port}" for address in addresses)
    database = app.mongodb.database
    options = (
        f"authSource={database}&replicaSet={SET}&w=majority&retryWrites=true&retryReads=true"
        "&connectTimeoutMS=1000&heartbeatFrequencyMS=2000"
    )
    return f"mongodb://{quote(app.name, safe='')}:{password}@{hosts}/{database}?{options}"


def quoted(text: str) -> str:
    """A value as systemd's EnvironmentFile= reads it back."""
    for character in ("\\", '"', "`", "$"):
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def environment_file(context: Context, app: AppRole) -> str:
    return "".join(f"{key}={quoted(value)}\n" for key, value in sorted(environment(context, app).items()))


def release_spec(app: AppRole) -> dict[str, Any]:
    """What /etc/smallfleet/apps/NAME.json says to the release program; nothing in it is secret."""
    assert app.app is not None
    return {
        "name": app.name,
        "repository": app.app.repository,
        "ref": app.app.ref,
        "requirements": app.app.requirements,
        "setup": app.app.setup,
        "setup_seconds": app.app.setup_seconds,
        "health": app.app.health,
        "start_seconds": app.app.start_seconds,
        "watch": app.app.watch,
        "keep": app.app.keep,
        "keep_bytes": size_in_bytes(app.app.keep_disk) if app.app.keep_disk else None,
        "domain": app.domain,
        "files": app.files.directory if app.files else None,
        "secrets": secret_variables(app),
    }


def secret_variables(app: AppRole) -> list[str]:
    """The variables of the app's environment that nobody may see."""
    assert app.app is not None
    return [name.upper() for name in app.app.secrets] + (["MONGODB_URL"] if app.mongodb else [])


def size_in_bytes(size: str) -> int:
    """256M is 268435456."""
    return int(size[:-1]) * 1024 ** ("KMG".index(size[-1]) + 1)
