"""`fleet lock`: whose turn it is on a fleet, and how to end it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from smallfleet.cloud import claim
from smallfleet.inventory import load_inventory
from smallfleet.model.fleet import Fleet
from smallfleet.runs.note import ago
from smallfleet.runs.remote import ask_all, client_of, there
from smallfleet.who import who

app = typer.Typer(no_args_is_help=True, help="Whose turn it is to change a fleet.")

Inventory = Annotated[Path, typer.Argument(help="such as inventory/prod.py")]


def locks(fleet: Fleet, warn: Any) -> list[dict[str, Any]]:
    """[{"where", "alive", "note"}] of each lock, living or dead; "where" is a droplet or "account"."""
    client = client_of(fleet)
    found = [
        {"where": "account", "alive": not claim.is_dead(client, project), "note": claim.note_in(project)}
        for project in claim.find(client, fleet)
    ]
    answers = ask_all(fleet, there(fleet), {"status": True}, warn)
    return found + [
        {"where": name, "alive": answer["alive"], "note": answer["note"] or {}}
        for name, answer in answers.items()
        if answer["note"] or answer["alive"]
    ]


@app.command()
def status(
    inventory: Inventory,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Say whose turn it is, since when, and whether that run is still alive."""
    fleet = load_inventory(inventory)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    found = locks(fleet, Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        console.print(f"It is nobody's turn: the fleet {fleet.name} may be changed.")
    for lock in [] if as_json else found:
        console.print(_sentence(lock))


def _sentence(lock: dict[str, Any]) -> str:
    note = lock["note"]
    told = f"{note.get('who', 'somebody')}: {note.get('command', 'an unknown command')}"
    told = f"{lock['where']}: {told}, since {note.get('began', '?')} ({ago(note.get('began', ''))}), "
    return told + ("alive" if lock["alive"] else "dead: the next run goes on")


@app.command("break")
def break_(
    inventory: Inventory,
    yes: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
) -> None:
    """End the run whose turn it is, so that another may begin. It stops before its next step."""
    fleet = load_inventory(inventory)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    found = locks(fleet, console.print)
    if not found:
        console.print(f"There is no lock on the fleet {fleet.name}.")
        return
    for lock in found:
        console.print(_sentence(lock))
    if any(lock["alive"] for lock in found):
        console.print(
            "That run is alive. It will stop before its next step, and what it is doing at this moment may\n"
            "be half done: files and releases are put in place whole, packages may be in mid-install.\n"
            "The next run completes it."
        )
        if not yes:
            typer.confirm("Break the lock?", abort=True, err=True)
    client = client_of(fleet)
    for project in claim.find(client, fleet):
        client.delete(f"projects/{project['id']}")
    names = {lock["where"] for lock in found}
    droplets = [droplet for droplet in there(fleet) if droplet["name"] in names]
    ask_all(fleet, droplets, {"release": who()}, console.print)
    console.print(f"The lock on the fleet {fleet.name} is broken.")
