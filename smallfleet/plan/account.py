"""What a plan changes in the cloud's account."""

from __future__ import annotations

from smallfleet.cloud.plan import Plan as Todo
from smallfleet.cloud.plan import firewall_rules, own_records
from smallfleet.cloud.survey import Json, Survey, fleet_tag, zone_of
from smallfleet.model.balancing import UNIT_PRICE
from smallfleet.model.fleet import Fleet
from smallfleet.plan.model import Cloud, NewDroplet, Record, Rule


def cloud_part(fleet: Fleet, found: Survey, todo: Todo) -> Cloud:
    """The account's part of a plan, from the account as it was found and what is to be made in it."""
    now = sum(droplet["size"]["price_monthly"] for droplet in found.droplets.values())
    now += sum(balancer.get("size_unit", 1) * UNIT_PRICE for balancer in found.balancers.values())
    return Cloud(
        droplets=[
            NewDroplet(
                name=droplet.name,
                size=droplet.size,
                region=fleet.region,
                image=fleet.image,
                monthly=todo.prices[droplet.size],
            )
            for droplet in todo.droplets
        ],
        firewall=_rules(found.firewall, firewall_rules(fleet)) if todo.firewall else [],
        records=[
            Record(name=name, now=_present(fleet, found, name), droplets=droplets)
            for name, droplets in todo.records.items()
        ],
        others=_others(fleet, todo),
        strangers=todo.strangers,
        monthly_now=round(now, 2),
        monthly_change=round(todo.total, 2),
    )


def _others(fleet: Fleet, todo: Todo) -> list[str]:
    others = [f"VPC {fleet_tag(fleet)} ({fleet.vpc}, {fleet.region})"] if todo.vpc else []
    others += [f"SSH key {fingerprint}" for fingerprint in todo.keys]
    others += [f"tag {tag}" for tag in todo.tags]
    others += [f"tag {tag} on {', '.join(names)}" for tag, names in todo.untagged.items()]
    for balancer in todo.balancers:
        price = f"${balancer.size_unit * UNIT_PRICE:.2f} a month"
        others.append(f"load balancer {balancer.name} in front of {', '.join(balancer.roles)}, {price}")
    others += [f"load balancer {balancer.name} as it should be" for balancer in todo.corrected]
    others += [f"domain {domain}" for domain in todo.domains]
    if todo.firewall == "create":
        others.append(f"firewall {fleet_tag(fleet)}")
    return others


def _present(fleet: Fleet, found: Survey, name: str) -> list[str]:
    zone = zone_of(fleet, name)
    records = own_records(found.records.get(zone) or [], name, zone)
    return sorted(f"{record['type']} {record['data']}" for record in records)


def _rules(now: Json | None, wanted: Json) -> list[Rule]:
    changes = []
    for direction, side in (("inbound", "sources"), ("outbound", "destinations")):
        there = {_said(rule, side) for rule in (now or {}).get(f"{direction}_rules") or []}
        right = {_said(rule, side) for rule in wanted[f"{direction}_rules"]}
        changes += [Rule(action="remove", direction=direction, rule=rule) for rule in sorted(there - right)]  # type: ignore[arg-type]
        changes += [Rule(action="add", direction=direction, rule=rule) for rule in sorted(right - there)]  # type: ignore[arg-type]
    return changes


def _said(rule: Json, side: str) -> str:
    """ "tcp 22 from 0.0.0.0/0, ::/0"; DigitalOcean writes 0 for all ports."""
    ports = "all" if str(rule.get("ports", "")) in ("", "all", "0") else rule["ports"]
    targets = [
        str(target) for kind in sorted(rule[side]) for target in sorted(map(str, rule[side][kind] or []))
    ]
    return f"{rule['protocol']} {ports} {'from' if side == 'sources' else 'to'} {', '.join(targets)}"
