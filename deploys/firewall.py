"""The droplet's own firewall: SSH and the web from anywhere, MongoDB from the private network, nothing else.
Where an edge or a load balancer is in front of all of a droplet's sites, the web comes from there alone.

pyinfra inventory/prod.py deploys/firewall.py
"""

from pathlib import Path

from pyinfra import host
from pyinfra.facts.hardware import Ipv4Addrs

from smallfleet.context import MISSING, Context
from smallfleet.errors import FleetError
from smallfleet.model.balancing import PORTS
from smallfleet.operations import checked, drift, guarded, nftables, packages, units

droplet = Context.of(host)

fronts = [front["private"] for app in droplet.apps if (front := droplet.front_of(app))]

interface = None
if droplet.has("mongodb") or fronts or droplet.balanced:
    addresses = host.get_fact(Ipv4Addrs) or {}
    if droplet.private_address == MISSING:  # --dry, and it is to be created
        addresses = {"eth1": [MISSING]}  # as DigitalOcean calls it
    interface = next((name for name, found in addresses.items() if droplet.private_address in found), None)
    if interface is None:
        raise FleetError(
            f"{droplet.droplet.name} has no interface with its private address {droplet.private_address}"
        )

mongodb = None
if droplet.has("mongodb"):
    mongodb = {
        "interface": interface,
        "sources": droplet.fleet.vpc,
        "port": next(
            droplet.role(name).port for name in droplet.roles if droplet.role(name).kind == "mongodb"
        ),
    }

packages.installed(name="Install nftables", packages=["nftables"], no_recommends=True)

guarded.settled(name="Undo what an earlier run has not confirmed")
nftables.ruleset(
    name="Set the firewall's rules",
    content=checked.render(
        Path("templates/nftables/nftables.conf.j2"),
        droplet=droplet.droplet.name,
        web=not droplet.hidden,
        edge={"interface": interface, "source": fronts[0], "port": droplet.fleet.edge.port}
        if fronts and droplet.fleet.edge
        else None,
        balancer={"interface": interface, "sources": droplet.fleet.vpc, "ports": [80, *PORTS.values()]}
        if droplet.balanced
        else None,
        mongodb=mongodb,
    ),
    table="inet smallfleet",
    undo_seconds=droplet.role("base").undo_seconds,
)

drift.only_these_rules(name="Filter by these rules alone", file=nftables.DEST, table="inet smallfleet")

units.kept(name="Load the firewall at boot", unit="nftables.service", running=None, known=droplet.units)
