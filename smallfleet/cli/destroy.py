"""fleet destroy: remove a fleet's droplets, by typing its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smallfleet.cloud.client import Client
from smallfleet.cloud.create import destroy_fleet
from smallfleet.cloud.survey import address, find_balancers, find_droplets, find_vpc
from smallfleet.errors import FleetError
from smallfleet.inventory import load_inventory


def destroy(inventory: Annotated[Path, typer.Argument(help="such as inventory/prod.py")]) -> None:
    """Destroy a fleet's droplets with all that is on them, its firewall, VPC and DNS records."""
    fleet = load_inventory(inventory)
    client = Client(fleet.end_point, fleet.token())
    console = Console(stderr=True, highlight=False, markup=False)
    found, strangers = find_droplets(client, fleet, find_vpc(client, fleet))
    for droplet in [*found.values(), *strangers]:
        console.print(f"{droplet['name']}  {address(droplet, 'public') or '-'}  (droplet {droplet['id']})")
    for name, balancer in find_balancers(client, fleet).items():
        console.print(f"{name}  {balancer.get('ip') or '-'}  (load balancer {balancer['id']})")
    count = len(found) + len(strangers)
    typed = typer.prompt(f"{count} droplets and all their data will go. Type the fleet's name", err=True)
    if typed != fleet.name:
        raise FleetError(f"that is not the fleet's name ({fleet.name}): nothing was destroyed")
    destroy_fleet(client, fleet, console.print)
