"""fleet maintenance: put sites into maintenance by hand, end it, and see which are in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from smallfleet.cli.patch import PYINFRA
from smallfleet.errors import FleetError
from smallfleet.inventory import load_inventory

app = typer.Typer(no_args_is_help=True, help="Put sites into maintenance, and see which are in it.")

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
FACT = "smallfleet.facts.maintenance.Maintenance"
Inventory = Annotated[Path, typer.Argument(help="such as inventory/prod.py")]
Roles = Annotated[list[str] | None, typer.Argument(help="Sites by their roles; all, if left out.")]


def seconds_of(text: str) -> int:
    """Seconds from "90", "30s", "10m" or "2h"; FleetError for anything else."""
    if found := re.fullmatch(r"([1-9][0-9]{0,5})([smh]?)", text):
        return int(found[1]) * UNITS[found[2]]
    raise FleetError(f"{text!r} is no time: 90, 30s, 10m and 2h are")


def droplets_of(inventory: Path, roles: Sequence[str]) -> tuple[list[str], list[str]]:
    """(sites, the droplets they are on); all sites, if `roles` is empty."""
    fleet = load_inventory(inventory)
    apps = {app.name for app in fleet.apps if app.app}
    if strange := sorted(set(roles) - apps):
        raise FleetError(f"{fleet.inventory} has no site {', '.join(strange)}: {', '.join(sorted(apps))}")
    sites = sorted(set(roles) or apps)
    return sites, [one.name for one in fleet.droplets if not set(sites).isdisjoint(fleet.roles_of(one))]


def run(inventory: Path, roles: Sequence[str], **data: str) -> None:
    """Run deploys/maintenance.py on the droplets of these sites; takes this process's place."""
    sites, droplets = droplets_of(inventory, roles)
    words = [PYINFRA, str(inventory), "deploys/maintenance.py", "-y"]
    for droplet in droplets:
        words += ["--limit", droplet]
    for key, value in {"sites": ",".join(sites), **data}.items():
        words += ["--data", f"{key}={value}"]
    os.execv(PYINFRA, words)


@app.command()
def on(
    inventory: Inventory,
    roles: Roles = None,
    message: Annotated[str, typer.Option("--message", help="What visitors read.")] = "",
    lasting: Annotated[str, typer.Option("--for", help="When it ends by itself: 90s, 30m, 2h.")] = "30m",
) -> None:
    """Put sites into maintenance. It ends by itself."""
    seconds = str(seconds_of(lasting))
    run(
        inventory, roles or [], maintenance="on", seconds=seconds, **({"message": message} if message else {})
    )


@app.command()
def off(
    inventory: Inventory,
    roles: Roles = None,
    now: Annotated[bool, typer.Option("--now", help="Even if the app is not healthy.")] = False,
) -> None:
    """End the maintenance of sites, as soon as they are healthy."""
    run(inventory, roles or [], maintenance="off", now=str(now).lower())


@app.command()
def status(
    inventory: Inventory,
    as_json: Annotated[bool, typer.Option("--json", help="{site: {since, until, message, reason}}")] = False,
) -> None:
    """Show the sites that are in maintenance; status 1 if one is."""
    words = [PYINFRA, "--json", str(inventory), "fact", FACT]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        answers = next(iter(json.loads(done.stdout[done.stdout.index("{") :]).values()))
    except (ValueError, StopIteration):
        raise FleetError(f"the droplets could not be asked:\n{done.stderr.strip()}") from None
    sites = {site: said for found in answers.values() for site, said in (found or {}).items()}
    if as_json:
        typer.echo(json.dumps(sites, indent=2))
    elif sites:
        table = Table("site", "ends by itself in", "reason", "message")
        for site, said in sorted(sites.items()):
            table.add_row(site, f"{said['until'] - time.time():.0f} s", said["reason"], said["message"])
        Console().print(table)
    else:
        typer.echo("no site is in maintenance")
    if sites:
        raise typer.Exit(1)
