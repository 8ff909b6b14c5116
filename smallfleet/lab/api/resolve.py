"""From the account's state to what the network and DNS need: pure functions."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from smallfleet.lab.api.store import Data
from smallfleet.lab.parts import BalancerSpec, DropletRules, Record, Rule

RECORD_TYPES: tuple[str, ...] = get_args(get_type_hints(Record)["type"])
NAME_IN_DATA = ("CNAME", "MX", "NS", "SRV")


def firewall_droplets(data: Data, firewall: dict[str, Any]) -> list[int]:
    """Ids of the droplets that `firewall` covers, by id or by tag."""
    tags = set(firewall["tags"])
    return [
        droplet["id"]
        for droplet in data["droplets"].values()
        if droplet["id"] in firewall["droplet_ids"] or tags & set(droplet["tags"])
    ]


def balancer_droplets(data: Data, balancer: dict[str, Any]) -> list[int]:
    """Ids of the droplets behind a load balancer: those of its VPC that have its tag, or its ids."""
    return [
        droplet["id"]
        for droplet in data["droplets"].values()
        if droplet["vpc_uuid"] == balancer["vpc_uuid"]
        and (
            balancer["tag"] in droplet["tags"]
            if balancer["tag"]
            else droplet["id"] in balancer["droplet_ids"]
        )
    ]


def balancer_specs(data: Data) -> list[BalancerSpec]:
    """What every load balancer is to be."""
    return [
        BalancerSpec(
            id=one["number"],
            public_address=one["public_address"],
            private_address=one["private_address"],
            vpc_range=one["vpc_range"],
            vpc_id=one["vpc_uuid"],
            ports={str(rule["entry_port"]): rule["target_port"] for rule in one["forwarding_rules"]},
            proxy_protocol=one["enable_proxy_protocol"],
            check=dict(one["health_check"]),
            targets=tuple(
                data["droplets"][str(id)]["private_address"] for id in balancer_droplets(data, one)
            ),
        )
        for one in data["load_balancers"].values()
    ]


def firewall_rules(data: Data) -> list[DropletRules]:
    """The rules of every droplet that a firewall covers; several firewalls on one droplet add up."""
    inbound: dict[int, list[Rule]] = {}
    outbound: dict[int, list[Rule]] = {}
    for firewall in data["firewalls"].values():
        rules_in = [_rule(data, rule, "sources") for rule in firewall["inbound_rules"]]
        rules_out = [_rule(data, rule, "destinations") for rule in firewall["outbound_rules"]]
        for id in firewall_droplets(data, firewall):
            inbound.setdefault(id, []).extend(rules_in)
            outbound.setdefault(id, []).extend(rules_out)
    return [DropletRules(id, tuple(inbound[id]), tuple(outbound[id])) for id in sorted(inbound)]


def _rule(data: Data, rule: dict[str, Any], side: str) -> Rule:
    targets = rule[side]
    tags, ids = set(targets.get("tags") or []), set(targets.get("droplet_ids") or [])
    addresses = [a if "/" in a else f"{a}/{128 if ':' in a else 32}" for a in targets.get("addresses") or []]
    for droplet in data["droplets"].values():
        if droplet["id"] in ids or tags & set(droplet["tags"]):
            addresses += [f"{droplet['public_address']}/32", f"{droplet['private_address']}/32"]
    # The API says "0" for all ports.
    ports = "all" if rule["ports"] in ("0", "all", "") else rule["ports"]
    return Rule(rule["protocol"], ports, tuple(dict.fromkeys(addresses)))


def dns_records(data: Data) -> tuple[list[str], list[Record]]:
    """Every domain, and every record with full names; SOA is the server's own matter."""
    records = []
    for name, domain in data["domains"].items():
        for record in domain["records"].values():
            if record["type"] not in RECORD_TYPES:
                continue
            text = record["data"]
            if record["type"] in NAME_IN_DATA:
                text = name if text == "@" else text.rstrip(".")
            extra = {key: record.get(key) for key in ("priority", "port", "weight", "flags", "tag")}
            full = name if record["name"] == "@" else f"{record['name']}.{name}"
            records.append(Record(record["type"], full, text, record["ttl"], **extra))
    return list(data["domains"]), records
