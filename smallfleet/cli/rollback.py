"""fleet rollback: back to the earlier release of an app, on all its droplets."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from smallfleet.cli.releases import PROD, Inventory, Role, droplets_of
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
    # pyinfra's command in this process: another one would take most of a second to start.
    from pyinfra_cli.main import main

    sys.argv[1:] = [str(inventory), "deploys/rollback.py", "-y", *limits, *data]
    main()
