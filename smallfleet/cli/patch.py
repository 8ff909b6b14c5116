"""fleet patch: a patch day, by deploys/patch.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from smallfleet.inventory import load_inventory
from smallfleet.patchday import order

PYINFRA = str(Path(sys.executable).with_name("pyinfra"))


def patch(
    inventory: Annotated[Path, typer.Argument(help="such as inventory/prod.py")],
    security_only: Annotated[bool, typer.Option("--security-only", help="Security updates only.")] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="This droplet, or those with this role; may be repeated."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Show what it would do, and end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Update every droplet, one after the other, and restart or reboot what needs it.

    Shows first what it will do, and asks. Sites are in maintenance while what they need is away.
    """
    order(load_inventory(inventory), limit or [])  # a word that is no droplet and no role is said at once
    words = [PYINFRA, str(inventory), "deploys/patch.py"]
    words += ["--data", "security_only=true"] if security_only else []
    words += ["--data", f"only={','.join(limit)}"] if limit else []
    words += ["--dry"] if dry else ["-y"] if yes else []
    os.execv(PYINFRA, words)
