"""What is missing or differs, and what it costs. Pure: compares, asks nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smallfleet.cloud.balancers import differs, wanted_balancer
from smallfleet.cloud.survey import Json, Survey, address, fleet_tag, public_keys, tags_of, zone_of
from smallfleet.errors import FleetError
from smallfleet.model.balancing import UNIT_PRICE
from smallfleet.model.fleet import Droplet, Fleet, LoadBalancer

if TYPE_CHECKING:
    from rich.table import Table

ANYWHERE = ["0.0.0.0/0", "::/0"]


def firewall_rules(fleet: Fleet) -> Json:
    """The cloud firewall as the API takes it: SSH from `ssh_from`, sites from all, the VPC inside."""
    inbound = [("tcp", "22", fleet.firewall.ssh_from), ("tcp", "80", ANYWHERE), ("tcp", "443", ANYWHERE)]
    inbound += [("icmp", "0", ANYWHERE), ("tcp", "all", [fleet.vpc]), ("udp", "all", [fleet.vpc])]
    outbound = [("icmp", "0"), ("tcp", "all"), ("udp", "all")]
    return {
        "name": fleet_tag(fleet),
        "tags": [fleet_tag(fleet)],
        "droplet_ids": [],
        "inbound_rules": [_rule(p, ports, sources={"addresses": a}) for p, ports, a in inbound],
        "outbound_rules": [_rule(p, ports, destinations={"addresses": ANYWHERE}) for p, ports in outbound],
    }


def _rule(protocol: str, ports: str, **targets: Any) -> Json:
    # DigitalOcean takes no ports for ICMP.
    return {"protocol": protocol, **({} if protocol == "icmp" else {"ports": ports}), **targets}


def _comparable(firewall: Json) -> Any:
    """A firewall in a form in which equal ones are equal: DigitalOcean writes "0" for all ports."""

    def rule(said: Json, side: str) -> str:
        ports = "0" if said.get("ports") in (None, "", "all", "0") else said["ports"]
        targets = sorted((k, sorted(map(str, v))) for k, v in said[side].items() if v)
        return f"{said['protocol']} {ports} {targets}"

    return (
        sorted(rule(r, "sources") for r in firewall["inbound_rules"]),
        sorted(rule(r, "destinations") for r in firewall["outbound_rules"]),
        sorted(firewall["tags"] or []),
    )


@dataclass
class Plan:
    """What is to be done to the account."""

    vpc: bool = False
    keys: dict[str, str] = field(default_factory=dict)  # fingerprint: public key
    tags: list[str] = field(default_factory=list)
    untagged: dict[str, list[str]] = field(default_factory=dict)  # tag: droplets that lack it
    firewall: str = ""  # "", "create" or "correct"
    droplets: list[Droplet] = field(default_factory=list)
    balancers: list[LoadBalancer] = field(default_factory=list)  # to be created
    corrected: list[LoadBalancer] = field(default_factory=list)  # there, but not as they should be
    domains: list[str] = field(default_factory=list)
    records: dict[str, list[str]] = field(default_factory=dict)  # DNS name: droplets it is to point at
    moves: dict[str, list[str]] = field(default_factory=dict)  # the same, once the droplets serve the site
    strangers: list[str] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (
            self.vpc or self.keys or self.tags or self.untagged or self.firewall or self.droplets
            or self.balancers or self.corrected or self.domains or self.records
        )  # fmt: skip

    @property
    def total(self) -> float:
        """USD a month for the droplets and load balancers to be created."""
        nodes = sum(balancer.size_unit for balancer in self.balancers)
        return sum(self.prices[droplet.size] for droplet in self.droplets) + nodes * UNIT_PRICE

    def table(self, fleet: Fleet) -> Table:
        """What would be created or corrected, with monthly prices."""
        from rich.table import Table  # most runs have nothing to create

        table = Table(title=f"To be created or corrected for the fleet {fleet.name}", title_justify="left")
        for title, side in (("what", "left"), ("name", "left"), ("details", "left"), ("$/month", "right")):
            table.add_column(title, justify=side)  # type: ignore[arg-type]
        for droplet in self.droplets:
            details = f"{droplet.size} {fleet.region} {fleet.image}: {', '.join(droplet.roles)}"
            table.add_row("droplet", droplet.name, details, f"{self.prices[droplet.size]:.2f}")
        if self.vpc:
            table.add_row("VPC", fleet_tag(fleet), f"{fleet.vpc} {fleet.region}", "")
        for fingerprint in self.keys:
            table.add_row("SSH key", fingerprint, "", "")
        if self.tags:
            table.add_row("tags", "", ", ".join(self.tags), "")
        for tag, names in self.untagged.items():
            table.add_row("tag on", ", ".join(names), tag, "")
        if self.firewall:
            details = f"{self.firewall}: 22 from {', '.join(fleet.firewall.ssh_from)}; 80, 443 from all"
            table.add_row("firewall", fleet_tag(fleet), details, "")
        for balancer in self.balancers:
            price = f"{balancer.size_unit * UNIT_PRICE:.2f}"
            table.add_row("load balancer", balancer.name, f"80, 443 to {', '.join(balancer.roles)}", price)
        for balancer in self.corrected:
            table.add_row("load balancer", balancer.name, "correct", "")
        for domain in self.domains:
            table.add_row("domain", domain, "", "")
        for name, droplets in self.records.items():
            table.add_row("DNS A", name, f"-> {', '.join(droplets)}", "")
        for name, droplets in self.moves.items():
            table.add_row("DNS A", name, f"-> {', '.join(droplets)}, when the site answers there", "")
        table.add_section()
        count = f"{len(self.droplets)} droplets"
        count += f", {len(self.balancers)} load balancers" if self.balancers else ""
        table.add_row("total", "", count, f"{self.total:.2f}")
        return table


def wanted_records(fleet: Fleet) -> dict[str, list[str]]:
    """{DNS name: the droplets that carry its app, or the edge or load balancer in front of them}."""
    homes = {}
    for app in fleet.apps:
        front = fleet.front_of(app) or fleet.balancer_of(app)
        homes[app.name] = [front.name] if front else [one.name for one in fleet.droplets_of(app.name)]
    return {
        name: homes[app.name] for app in fleet.apps for name in (app.domain, *app.aliases) if homes[app.name]
    }


def names_now(fleet: Fleet, found: Survey) -> dict[str, list[str]]:
    """{DNS name of a site: the IPv4 addresses that it has}."""
    return {
        name: [r["data"] for r in own_records(found.records.get(zone) or [], name, zone) if r["type"] == "A"]
        for app in fleet.apps
        for name in (app.domain, *app.aliases)
        if (zone := zone_of(fleet, name))
    }


def _can_wait(fleet: Fleet, found: Survey, name: str, now: list[tuple[str, str]]) -> bool:
    """Whether the site is served where its name leads now, and is to move to an edge or a load balancer, or
    away from one."""
    app = next(app for app in fleet.apps if name in (app.domain, *app.aliases))
    homes = [droplet.name for droplet in fleet.droplets_of(app.name)]
    there = [*found.droplets.values(), *found.strangers]
    edges = {address(d, "public") for d in there if f"{fleet_tag(fleet)}:edge" in d["tags"]}
    edges |= {balancer.get("ip") for balancer in found.balancers.values()}
    serving = edges | {address(d, "public") for d in there if d["name"] in homes}
    led = {data for kind, data in now if kind == "A"}
    return bool(now) and led <= serving and bool(fleet.front_of(app) or fleet.balancer_of(app) or led & edges)


def relative(name: str, zone: str) -> str:
    """A DNS name as the records API has it: relative to its domain, @ for the domain itself."""
    return "@" if name == zone else name.removesuffix(f".{zone}")


def own_records(records: list[Json], name: str, zone: str) -> list[Json]:
    """The records that say where `name` is: A, AAAA (we serve IPv4 only) and CNAME."""
    short = relative(name, zone)
    return [r for r in records if r["name"] == short and r["type"] in ("A", "AAAA", "CNAME")]


def addresses_of(found: Survey) -> dict[str, str]:
    """{droplet or load balancer: its public address}."""
    droplets = {name: address(droplet, "public") or "" for name, droplet in found.droplets.items()}
    return droplets | {name: balancer.get("ip") or "" for name, balancer in found.balancers.items()}


def plan(fleet: Fleet, found: Survey, limit: set[str] | None = None) -> Plan:
    """Compare. `limit`: names of the droplets that may be created (None: all)."""
    todo = Plan(prices=found.prices)
    todo.droplets = [
        droplet
        for droplet in fleet.droplets
        if droplet.name not in found.droplets and (limit is None or droplet.name in limit)
    ]
    for droplet in todo.droplets:
        if droplet.size not in found.prices:
            raise FleetError(
                f"{droplet.where}: the droplet {droplet.name}: DigitalOcean has no size {droplet.size}"
            )
    there = set(found.droplets) | {droplet.name for droplet in todo.droplets}
    todo.strangers = [f"{d['name']} ({d['id']})" for d in found.strangers]
    named = {balancer.name for balancer in fleet.load_balancers}
    todo.strangers += [f"load balancer {name}" for name in sorted(found.balancers) if name not in named]
    if not there:
        return todo
    todo.vpc = found.vpc is None and bool(todo.droplets)
    if todo.droplets:
        todo.keys = {print_: key for print_, key in public_keys(fleet).items() if print_ not in found.keys}
    wanted_tags = [tag for name in sorted(there) for tag in tags_of(fleet, name)]
    todo.tags = [tag for tag in dict.fromkeys(wanted_tags) if tag not in found.tags]
    for name, droplet_found in found.droplets.items():
        for tag in tags_of(fleet, name):
            if tag not in droplet_found["tags"]:
                todo.untagged.setdefault(tag, []).append(name)
    if found.firewall is None:
        todo.firewall = "create"
    elif _comparable(found.firewall) != _comparable(firewall_rules(fleet)):
        todo.firewall = "correct"
    for balancer in fleet.load_balancers:
        if balancer.name not in found.balancers:
            todo.balancers.append(balancer)
        elif differs(found.balancers[balancer.name], wanted_balancer(fleet, balancer)):
            todo.corrected.append(balancer)
    known = addresses_of(found)
    there |= named
    for name, droplets in wanted_records(fleet).items():
        droplets = [d for d in droplets if d in there]
        if not droplets:
            continue
        zone = zone_of(fleet, name)
        records = found.records.get(zone)
        if records is None and zone not in todo.domains:
            todo.domains.append(zone)
        now = sorted((r["type"], r["data"]) for r in own_records(records or [], name, zone))
        right = sorted(("A", known[d]) for d in droplets if d in known)
        if len(right) < len(droplets) or now != right:
            later = _can_wait(fleet, found, name, now)
            (todo.moves if later else todo.records)[name] = droplets
    return todo
