"""fleet rollback: back to the earlier release of an app, on all its droplets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from smallfleet.cli.releases import PROD, Inventory, Role, droplets_of, pyinfra
from smallfleet.inventory import load_inventory


def rollback(
    role: Role,
    release: Annotated[
        str | None, typer.Argument(help="Its name, or the beginning of its commit; left out, the one before.")
    ] = None,
    inventory: Inventory = PROD,
) -> None:
    """Go back to the earlier release of an app on all its droplets, without a build and without a network."""
    limits = [word for name in droplets_of(load_inventory(inventory), role) for word in ("--limit", name)]
    data = ["--data", f"role={role}"] + (["--data", f"release={json.dumps(release)}"] if release else [])
    done = pyinfra(str(inventory), "deploys/rollback.py", "-y", *limits, *data)
    raise typer.Exit(done.returncode)
