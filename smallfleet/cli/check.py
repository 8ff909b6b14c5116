"""fleet check: would each droplet come back from a reboot?"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smallfleet import programs
from smallfleet.cloud.client import Client
from smallfleet.cloud.survey import address, find_droplets, find_vpc
from smallfleet.errors import FleetError
from smallfleet.inventory import load_inventory
from smallfleet.model.fleet import Fleet

SECONDS = 300  # for one droplet, all its checks together


def problems_of(fleet: Fleet, where: str | None) -> list[str]:
    """What would keep the droplet at the address `where` from coming back; that it cannot be asked, too."""
    if where is None:
        return ["it does not exist"]
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": fleet.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
    }
    words = ["ssh", "-F", "none", "-i", str(fleet.ssh_key)]
    words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    try:
        done = subprocess.run(
            [*words, f"root@{where}", "python3", "-"],
            input=programs.path("reboot_check").read_text(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return list(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return [f"it cannot be asked: no answer within {SECONDS} s"]
    except (IndexError, ValueError):
        return [f"it cannot be asked: {done.stderr.strip() or f'status {done.returncode}'}"]


def check(
    inventory: Annotated[Path, typer.Argument(help="such as inventory/prod.py")],
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="This droplet, or those with this role; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="{droplet: [problems]}")] = False,
) -> None:
    """Say of each droplet whether it would come back from a reboot; status 1 if one would not."""
    fleet = load_inventory(inventory)
    names = [droplet.name for droplet in fleet.droplets]
    for word in limit or []:
        if word not in names and word not in fleet.roles:
            raise FleetError(f"{fleet.where}: the fleet {fleet.name} has no droplet and no role {word}")
    wanted = [
        droplet.name
        for droplet in fleet.droplets
        if not limit or {droplet.name, *fleet.roles_of(droplet)} & set(limit)
    ]
    client = Client(fleet.end_point, fleet.token())
    found, _ = find_droplets(client, fleet, find_vpc(client, fleet))
    addresses = [address(found[name], "public") if name in found else None for name in wanted]
    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as pool:
        answers = dict(zip(wanted, pool.map(lambda where: problems_of(fleet, where), addresses), strict=True))
    if as_json:
        typer.echo(json.dumps(answers, indent=2))
    else:
        table = Table("droplet", "after a reboot")
        for name, problems in answers.items():
            table.add_row(
                name, Text("\n".join(problems) or "comes back", style="red" if problems else "green")
            )
        Console().print(table)
    if any(answers.values()):
        raise typer.Exit(1)
