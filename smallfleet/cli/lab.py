"""`fleet lab`: start, end, show and enter the local cloud."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from smallfleet.cli.sites import sites
from smallfleet.lab import cgroups, cleanup, descriptor, lifecycle
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.errors import LabError
from smallfleet.lab.injection import host_keys

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
    for id, kept in _droplets(lab).items():
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
    lab = Lab.load(name)
    found = [(id, kept["spec"]) for id, kept in _droplets(lab).items() if kept["spec"]["name"] == droplet]
    if not found:
        names = ", ".join(sorted(kept["spec"]["name"] for kept in _droplets(lab).values()))
        raise LabError(f"Lab {name} has no droplet {droplet!r}. It has: {names or 'none yet'}.")
    id, spec = found[-1]
    address = spec["public_address"]
    # The lab made the host keys, so that it can say what they are: nothing is taken on trust.
    pins = lab.path / "droplets" / str(id) / "known_hosts"
    keys = host_keys(lab.path / "droplets" / str(id) / "upper")
    descriptor.write_private(pins, "".join(f"{address} {key}\n" for key in keys))
    options = ["-i", lab.ssh_key, "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={pins}"]
    options += [
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "LogLevel=ERROR",
    ]
    os.execvp("ssh", ["ssh", "-F", "none", *options, f"root@{address}", *(command or [])])


def _droplets(lab: Lab) -> dict[int, dict[str, Any]]:
    """What the lab keeps of each droplet, by id."""
    files = lab.path.glob("droplets/*/machine.json")
    found = {int(path.parent.name): json.loads(path.read_text()) for path in files}
    return dict(sorted(found.items()))
