"""The `fleet` command: what pyinfra has no word for."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from smallfleet.cli import lab, secrets
from smallfleet.cli.destroy import destroy
from smallfleet.cli.releases import releases
from smallfleet.cli.rollback import rollback
from smallfleet.errors import FleetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(lab.app, name="lab")
app.add_typer(secrets.app, name="secrets")
app.command()(destroy)
app.command()(releases)
app.command()(rollback)


def main() -> None:
    """Run the command; an owner's mistake is one message on stderr and status 1, never a traceback."""
    try:
        app()
    except FleetError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]fleet:[/red] {error}", markup=True)
        sys.exit(1)
