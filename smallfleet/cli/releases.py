"""fleet releases: what an app's releases are, on each droplet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from smallfleet.errors import FleetError
from smallfleet.inventory import load_inventory
from smallfleet.model.fleet import Fleet
from smallfleet.model.roles import AppRole

Role = Annotated[str, typer.Argument(help="The app's role, such as podcast.")]
Inventory = Annotated[Path, typer.Option("--inventory", "-i", help="The inventory.")]
PROD = Path("inventory/prod.py")


def droplets_of(fleet: Fleet, role: str) -> list[str]:
    """The names of the droplets with the app; `FleetError` if it is none of the fleet's."""
    app = fleet.roles.get(role)
    if not isinstance(app, AppRole) or app.app is None:
        apps = ", ".join(sorted(one.name for one in fleet.apps if one.app))
        raise FleetError(f"{role} is no app of the fleet {fleet.name}. It has: {apps or 'none'}.")
    return [droplet.name for droplet in fleet.droplets_of(role)]


def pyinfra(*words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run pyinfra from this very environment; `quiet` keeps its output."""
    command = [sys.executable, "-m", "pyinfra", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=quiet, text=True, check=False)


def releases(
    role: Role,
    inventory: Inventory = PROD,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List an app's releases on each droplet, newest first, and those that were refused."""
    names = droplets_of(load_inventory(inventory), role)
    limits = [word for name in names for word in ("--limit", name)]
    asked = ["--json", str(inventory), *limits, "fact", "smallfleet.facts.release.Releases", f"app={role}"]
    done = pyinfra(*asked, quiet=True)
    if done.returncode:
        raise FleetError(f"the droplets could not be asked:\n{done.stderr.strip()}")
    found = listed(json.loads(done.stdout), names)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        console = Console()
        # Into a file or a pipe nothing is cut short.
        console = console if console.is_terminal else Console(width=200)
        console.print(table(found))


def listed(printed: Any, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """{droplet: its releases} in the inventory's order, from what `pyinfra --json … fact` prints."""
    facts = next(iter(printed.values())) if isinstance(printed, dict) else {}
    return {name: facts.get(name) or [] for name in names}


def table(found: dict[str, list[dict[str, Any]]]) -> Table:
    """One row per release; what serves is marked."""
    shown = Table("droplet", "", Column("release", no_wrap=True), "ref", "author", "time", "health")
    for droplet, rows in found.items():
        for row in rows:
            health = str(row.get("health", "healthy"))
            color = {"healthy": "green", "tried": "yellow"}.get(health, "red")
            reason = str(row.get("reason", "")).partition("\n")[0].rstrip(":")
            shown.add_row(
                droplet,
                "*" if row.get("serves") else "",
                str(row["release"]),
                f"{row.get('ref', '')} {str(row.get('commit', ''))[:8]}".strip(),
                str(row.get("author", "")),
                str(row.get("time", "")),
                f"[{color}]{health}[/{color}]" + (f": {reason}" if reason else ""),
            )
        shown.add_section()
    return shown
