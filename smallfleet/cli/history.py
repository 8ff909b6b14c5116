"""fleet history: what each run did, as the droplets remember it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from smallfleet.errors import FleetError
from smallfleet.inventory import load_inventory
from smallfleet.runs.note import Note
from smallfleet.runs.remote import ask_all, merged, there


def history(
    inventory: Annotated[Path, typer.Argument(help="such as inventory/prod.py")] = Path("inventory/prod.py"),
    run: Annotated[str | None, typer.Argument(help="A run's id: show what it changed, with diffs.")] = None,
    droplet: Annotated[str | None, typer.Option("--droplet", help="Only what was done to this one.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="How many runs.", min=1, max=200)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, with all diffs.")] = False,
) -> None:
    """Show the fleet's runs, newest first: who, when, what changed, the result and how long it took."""
    fleet = load_inventory(inventory)
    warn = Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print
    asked = there(fleet)
    if droplet is not None:
        fleet.droplet(droplet)
    runs = merged(ask_all(fleet, asked, {"read": 200 if run else number}, warn))
    if droplet is not None:
        runs = [
            {**r, "droplets": {droplet: r["droplets"][droplet]}} for r in runs if droplet in r["droplets"]
        ]
    if run is not None:
        runs = [r for r in runs if r["id"] == run]
        if not runs:
            raise FleetError(f"there is no record of a run {run}: fleet history {inventory}")
    runs = runs[:number]
    if as_json:
        typer.echo(json.dumps(runs, indent=2))
    elif run is not None:
        show(runs[0])
    else:
        Console(highlight=False).print(table(runs))


def table(runs: list[Note]) -> Table:
    """A line for each run."""
    lines = Table(Column("run", no_wrap=True), "who", "what", "changed", "result", "time")
    for run in runs:
        changes = {name: len(part["changes"]) for name, part in run["droplets"].items() if part["changes"]}
        result = run["result"] or "began, did not end"
        color = {"done": "green", "not begun": "yellow"}.get(result, "red")
        lines.add_row(
            f"{run['id']}",
            _plain(run["who"]),
            _plain(run["command"].removeprefix(f"pyinfra {run['inventory']} ")),
            _plain("\n".join(f"{name}: {count}" for name, count in changes.items()) or "nothing"),
            f"[{color}]{_plain(result)}[/{color}]",
            f"{run['seconds']} s" if run["seconds"] is not None else "–",
        )
    return lines


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def show(run: dict[str, Any]) -> None:
    """All of one run, diffs included."""
    say = Console(highlight=False, markup=False, soft_wrap=True).print
    say(f"{run['id']}: {run['who']}: {run['command']}")
    for key in ("inventory", "commit", "began", "ended", "seconds", "result"):
        say(f"  {key}: {run.get(key) if run.get(key) is not None else '–'}")
    for name, part in run["droplets"].items():
        say(f"\n{name}: {part['result']}{', at: ' + part['failed'] if part['failed'] else ''}")
        for change in part["changes"]:
            say(f"  {change['operation']}")
            for line in change["diff"]:
                style = {"+": "green", "-": "red"}.get(line[:1])
                say(f"    {line}", style=style)
