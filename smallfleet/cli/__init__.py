"""The `fleet` command: what pyinfra has no word for."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from smallfleet.cli import greenlets, lab, lock, maintenance, secrets  # noqa: F401  greenlets before all others
from smallfleet.cli.apply import apply
from smallfleet.cli.check import check
from smallfleet.cli.destroy import destroy
from smallfleet.cli.history import history
from smallfleet.cli.patch import patch
from smallfleet.cli.plan import plan
from smallfleet.cli.releases import releases
from smallfleet.cli.rollback import rollback
from smallfleet.cli.show import show
from smallfleet.errors import FleetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.command()(plan)
app.command()(apply)
app.command()(show)
app.command()(check)
app.command()(history)
app.command()(releases)
app.command()(rollback)
app.command()(patch)
app.add_typer(maintenance.app, name="maintenance")
app.add_typer(lock.app, name="lock")
app.add_typer(secrets.app, name="secrets")
app.command()(destroy)
app.add_typer(lab.app, name="lab")


def main() -> None:
    """Run the command; an owner's mistake is one message on stderr and status 1, never a traceback."""
    try:
        app()
    except FleetError as error:
        # Not markup: a sentence such as "write needs: [mongodb]" has brackets of its own.
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text("fleet:", "red"), Text(str(error)))
        sys.exit(1)
