"""`fleet secrets`: see, set and change the secrets of a fleet, opened with your own SSH key."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from smallfleet.errors import FleetError
from smallfleet.inventory import load_inventory
from smallfleet.model.fleet import TOKEN_SECRET, Fleet
from smallfleet.secrets import Secret, Secrets, generate_missing, required_secrets
from smallfleet.secrets.file import NAME, locked, parse
from smallfleet.secrets.needed import change

app = typer.Typer(no_args_is_help=True, help=__doc__)
Inventory = Annotated[Path, typer.Argument(help="The fleet's inventory, such as inventory/prod.py.")]


@app.command("list")
def list_(inventory: Inventory) -> None:
    """Show the names of the secrets, and which are missing; never what they are."""
    fleet = load_inventory(inventory)
    there, required = fleet.open_secrets(), required_secrets(fleet)
    table = Table("secret", "state")
    for name in sorted({*there, *required}):
        if name not in there:
            state = "[red]missing[/red]"
        else:
            state = "set" if name in required or name == TOKEN_SECRET else "set, no role needs it"
        table.add_row(name, state)
    Console().print(table)


@app.command("set")
def set_(
    inventory: Inventory,
    name: Annotated[str, typer.Argument(help="Its name, such as podcast/session_secret.")],
) -> None:
    """Set one secret: asked for without showing it, or read from standard input; so no history has it."""
    fleet = load_inventory(inventory)
    if not NAME.fullmatch(name):
        raise FleetError(f"{name!r} is no name of a secret: it has the form ROLE/NAME")
    if sys.stdin.isatty():
        text = typer.prompt(name, hide_input=True, confirmation_prompt=True)
    else:
        text = sys.stdin.read().removesuffix("\n")
    if not text:
        raise FleetError(f"{name} was left as it is: the new text is empty")
    change(fleet, {name: Secret(text)})
    typer.echo(f"{name} is set. {_next(inventory)}" if name in required_secrets(fleet) else f"{name} is set.")


@app.command()
def generate(inventory: Inventory) -> None:
    """Make a random text for each secret that the roles need and that is not set."""
    made = generate_missing(load_inventory(inventory))
    typer.echo(
        f"Made: {', '.join(made)}" if made else "Nothing to make: all secrets that the roles need are set."
    )


@app.command()
def rotate(
    inventory: Inventory,
    names: Annotated[
        list[str] | None, typer.Argument(help="Which; without names, all that the roles need.")
    ] = None,
) -> None:
    """Replace secrets by new random ones, and encrypt the file anew to the fleet's SSH keys of today."""
    fleet = load_inventory(inventory)
    known = required_secrets(fleet)
    if unknown := [name for name in names or [] if name not in known]:
        raise FleetError(
            f"no role needs {', '.join(unknown)}; set a secret from elsewhere with: fleet secrets set"
        )
    if not names and sys.stdin.isatty():
        typer.confirm(f"Replace all {len(known)} secrets of {fleet.name}?", abort=True)
    changed = change(fleet, dict.fromkeys(names or known))
    typer.echo(f"New: {', '.join(changed)}. {_next(inventory)}")


@app.command()
def edit(inventory: Inventory) -> None:
    """Open the secrets in $EDITOR, and encrypt what you save. The clear text stays in memory (/dev/shm)."""
    fleet = load_inventory(inventory)
    before = fleet.open_secrets()
    text = _edited(before.text(), fleet)
    after = Secrets(fleet.secrets_file, parse(text, "what you wrote"))
    if dict(after) == dict(before):
        typer.echo("Nothing changed.")
        return
    with locked(fleet.secrets_file):
        if dict(Secrets.open(fleet.secrets_file, [fleet.ssh_key])) != dict(before):
            raise FleetError(
                f"{fleet.secrets_file} was changed while you edited it. Nothing is saved: edit it again."
            )
        after.save(fleet.ssh_keys)
    typer.echo(f"Saved. {_next(inventory)}")


def _edited(text: str, fleet: Fleet) -> str:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    # The directory is 0700: the editor's own copies beside the file are the owner's alone, and go with it.
    with tempfile.TemporaryDirectory(prefix="smallfleet-", dir=memory) as directory:
        file = Path(directory, f"{fleet.name}.secrets.yml")
        file.touch(mode=0o600)
        file.write_text(text)
        try:
            status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
        except FileNotFoundError:
            raise FleetError(f"the editor {editor} is not there: set EDITOR to yours") from None
        if status:
            raise FleetError(f"the editor {editor} ended with {status}. Nothing is saved.")
        return file.read_text()


def _next(inventory: Path) -> str:
    return f"It reaches the droplets with: pyinfra {inventory} deploys/site.py"
