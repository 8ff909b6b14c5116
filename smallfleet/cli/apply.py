"""fleet apply: run a saved plan, if the fleet is still as it saw it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smallfleet.cli.plan import made_plan
from smallfleet.errors import FleetError


def apply(saved: Annotated[Path, typer.Argument(help="what fleet plan --format json --out wrote")]) -> None:
    """Run a saved plan; if the fleet is no longer as the plan saw it, say what moved and change nothing.

    Ends as pyinfra's command does.
    """
    from smallfleet.plan.again import load, moved

    plan = load(saved)
    if plan.errors:
        raise FleetError(
            f"{saved} is not whole, without {', '.join(error.droplet for error in plan.errors)}.\n"
            "Mend that and plan anew, or leave them out with --limit."
        )
    now = made_plan(Path(plan.inventory), Path(plan.deploy), plan.limit)
    if differences := list(moved(plan, now)):
        said = "\n".join(f"  {line}" for line in differences)
        raise FleetError(f"the fleet is not as {saved} saw it, and nothing was changed:\n{said}\nPlan anew.")
    if plan.empty:
        Console(stderr=True).print("nothing to do")
        return
    words = [str(Path(sys.executable).with_name("pyinfra")), plan.inventory, plan.deploy, "-y"]
    for word in plan.limit:
        words += ["--limit", word]
    raise typer.Exit(subprocess.run(words, check=False).returncode)
