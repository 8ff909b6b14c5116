"""`fleet lab`: start, end, show and enter the local cloud."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from smallfleet.cli.sites import sites
from smallfleet.lab import cgroups, cleanup, descriptor, lifecycle
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.visitor import droplets, ssh_command

app = typer.Typer(no_args_is_help=True, help="A cloud on this machine, for trying things out.")
app.command()(sites)

Name = Annotated[str, typer.Option("--name", help="The lab.", default_factory=descriptor.default_name)]


@app.command()
def up(name: Name) -> None:
    """Start a lab. It makes no droplets: deploys do, through the lab's API."""
    console = Console(stderr=True, highlight=False)
    lab = lifecycle.up(name, lambda text: console.print(f"==> {text}", markup=False))
    console.print(f"lab {lab.name}: API {lab.api}, droplets in {lab.public_range}", markup=False)


@app.command()
def down(
    name: Name,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the droplets' disks for the next `up`.")] = False,
) -> None:
    """End a lab and remove all of it."""
    lifecycle.down(name, keep)
    Console(stderr=True).print(f"lab {name} is down{', its disks are kept' if keep else ''}", markup=False)


@app.command()
def status(name: Name) -> None:
    """Show the lab's droplets."""
    lab = Lab.load(name)
    console = Console(highlight=False)
    running = cleanup.alive(name)
    console.print(
        f"lab {name} is {'up, API ' + lab.api if running else 'down; its disks are kept'}", markup=False
    )
    table = Table("droplet", "id", "image", "memory", "public", "private", "state")
    for id, kept in droplets(lab).items():
        spec = kept["spec"]
        on = bool(cgroups.processes(f"{name}/{id}"))
        state = "[green]on[/green]" if on else "[yellow]off[/yellow]"
        table.add_row(
            spec["name"],
            str(id),
            spec["image"],
            f"{spec['memory']} MiB",
            spec["public_address"],
            spec["private_address"],
            state,
        )
    console.print(table)


@app.command()
def ssh(
    droplet: Annotated[str, typer.Argument(help="The droplet's name.")],
    name: Name,
    command: Annotated[list[str] | None, typer.Argument(help="What to run; a shell if left out.")] = None,
) -> None:
    """A shell on a droplet, or one command. Ends with the command's status."""
    words = ssh_command(Lab.load(name), droplet, command or [])
    os.execvp(words[0], words)
