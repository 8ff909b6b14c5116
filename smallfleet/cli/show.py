"""fleet show: a saved plan, in any format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smallfleet.cli.plan import Format, write


def show(
    saved: Annotated[Path, typer.Argument(help="what fleet plan --format json --out wrote")],
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.tree,
    out: Annotated[Path | None, typer.Option(help="Write it to a file, not to the terminal.")] = None,
) -> None:
    """Show a saved plan; asks nobody."""
    from smallfleet.plan.again import load

    write(load(saved), format, out)
