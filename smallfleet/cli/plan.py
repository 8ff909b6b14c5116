"""fleet plan: what a deploy will change, before it does."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from smallfleet.errors import FleetError
from smallfleet.plan.model import Plan

NOTHING, ERROR, CHANGES = 0, 1, 2


class Format(StrEnum):
    tree = "tree"
    json = "json"
    markdown = "markdown"


def plan(
    inventory: Annotated[Path, typer.Argument(help="such as inventory/prod.py")],
    deploy: Annotated[Path, typer.Argument(help="such as deploys/site.py")] = Path("deploys/site.py"),
    limit: Annotated[
        list[str] | None, typer.Option(help="Only these droplets: a name, a pattern or a role; repeatable.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.tree,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 2 when there is something to do.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write it to a file, not to the terminal.")] = None,
) -> None:
    """Show what a deploy will change, on which droplets, and what that touches. Changes nothing.

    Ends with 0; with 1 if a droplet could not be planned; with 2 under --exit-code if there is
    something to do.
    """
    made = made_plan(inventory, deploy, limit or [])
    write(made, format, out)
    if made.errors:
        for error in made.errors:
            _stderr().print(f"fleet: {error.droplet}: {error.reason}", markup=False, style="red")
        raise typer.Exit(ERROR)
    if exit_code and not made.empty:
        raise typer.Exit(CHANGES)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def made_plan(inventory: Path, deploy: Path, limit: list[str]) -> Plan:
    """The plan, with progress on stderr while it is made."""
    from smallfleet.plan.assemble import make_plan

    bar = Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(20, pulse_style="cyan"),
        TextColumn("{task.fields[at]}"),
        TimeElapsedColumn(),
        console=_stderr(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    tasks: dict[str, object] = {}
    if not sys.stderr.isatty():
        print(f"planning {deploy} on {inventory} …", file=sys.stderr)

    def progress(droplet: str, at: str) -> None:
        if droplet not in tasks:
            tasks[droplet] = bar.add_task(droplet, total=None, at="")
        bar.update(tasks[droplet], at=at[:70])  # type: ignore[arg-type]

    with bar:
        return make_plan(inventory, deploy, limit, progress)


def write(made: Plan, format: Format, out: Path | None) -> None:
    """Show a plan on the terminal or in the file `out`, its owner's alone since it quotes config files."""
    if out is None:
        _show(made, format, Console(highlight=False, width=None if sys.stdout.isatty() else 200))
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise FleetError(f"{out} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        _show(made, format, Console(file=file, width=200, no_color=True))


def _show(made: Plan, format: Format, console: Console) -> None:
    if format is Format.json:
        console.file.write(made.model_dump_json(indent=2) + "\n")
    elif format is Format.markdown:
        from smallfleet.plan.markdown import render

        console.file.write(render(made))
    else:
        from smallfleet.plan.tree import render as tree

        console.print(tree(made))
