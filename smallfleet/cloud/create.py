"""Carry a plan out. Things are found by name or tag, so that a cut-off run is completed by the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from smallfleet.cloud.balancers import correct_balancer, make_balancer, settled
from smallfleet.cloud.client import Client, CloudError
from smallfleet.cloud.plan import Plan, firewall_rules, own_records, relative
from smallfleet.cloud.survey import (
    Json,
    Survey,
    address,
    find_balancers,
    find_droplets,
    find_firewall,
    find_key,
    find_vpc,
    fleet_tag,
    public_keys,
    records_of,
    tags_of,
    zone_of,
)
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Droplet, Fleet

Say = Callable[[str], None]
T = TypeVar("T")
ACTIVE_SECONDS = 300.0
TTL = 300  # seconds a DNS answer is kept: short, as a droplet that is made anew has a new address


def together(work: Callable[[T], Any], things: Iterable[T], name: Callable[[T], str]) -> list[Any]:
    """`work` on each thing in parallel; one FleetError that names each that failed."""
    with ThreadPoolExecutor(8) as pool:
        waiting = [(name(thing), pool.submit(work, thing)) for thing in things]
        done, faults = [], []
        for what, future in waiting:
            try:
                done.append(future.result())
            except FleetError as error:
                text = str(error)
                faults.append(text if text.startswith(f"{what}: ") else f"{what}: {text}")
    if faults:
        raise FleetError("\n".join(faults))
    return done


def carry_out(client: Client, fleet: Fleet, found: Survey, todo: Plan, say: Say) -> dict[str, Json]:
    """Create and correct what `todo` says; the fleet's droplets, all active, by name."""
    vpc = found.vpc
    if todo.vpc:
        body = {"name": fleet_tag(fleet), "region": fleet.region, "ip_range": fleet.vpc}
        client.make("vpcs", body, lambda: find_vpc(client, fleet))
        say(f"VPC {fleet_tag(fleet)}")
        vpc = find_vpc(client, fleet)
    for number, (print_, key) in enumerate(todo.keys.items(), 1):
        name = f"{fleet_tag(fleet)}-{number}"
        body = {"name": name, "public_key": key}
        client.make("account/keys", body, lambda print_=print_: find_key(client, print_))  # type: ignore[misc]
        say(f"SSH key {name}")
    for tag in todo.tags:
        client.make("tags", {"name": tag}, lambda tag=tag: _tag(client, tag))  # type: ignore[misc]
    # Before the droplets: they are never on the network without it.
    if todo.firewall:
        body = firewall_rules(fleet)
        current = found.firewall
        if current is None:
            client.make("firewalls", body, lambda: find_firewall(client, fleet))
        else:
            # Droplets that the owner put under it by hand stay under it.
            client.put(
                f"firewalls/{current['id']}", {**body, "droplet_ids": current.get("droplet_ids") or []}
            )
        say(f"firewall {fleet_tag(fleet)}")
    for tag, names in todo.untagged.items():
        ids = [str(found.droplets[name]["id"]) for name in names]
        resources = [{"resource_id": id, "resource_type": "droplet"} for id in ids]
        client.make(f"tags/{tag}/resources", {"resources": resources}, lambda: None)
    if todo.droplets:
        if vpc is None:
            raise FleetError(f"the VPC {fleet_tag(fleet)} was created but cannot be found; run again")
        keys = list(public_keys(fleet))
        vpc_id = vpc["id"]
        together(lambda d: _create(client, fleet, d, vpc_id, keys, say), todo.droplets, lambda d: d.name)
    droplets, _ = find_droplets(client, fleet, vpc)
    up = together(lambda d: _settle(client, fleet, d, say), droplets.values(), lambda d: str(d["name"]))
    droplets = {droplet["name"]: droplet for droplet in up}
    where = {name: address(droplet, "public") or "" for name, droplet in droplets.items()}
    where |= _balance(client, fleet, found, todo, vpc, say)
    for domain in todo.domains:
        client.make("domains", {"name": domain}, lambda d=domain: records_of(client, d))  # type: ignore[misc]
        say(f"domain {domain}")

    def record(name: str) -> None:
        point(client, fleet, name, {target: where[target] for target in todo.records[name]}, say)

    together(record, todo.records, lambda name: name)
    return droplets


def _tag(client: Client, tag: str) -> Json | None:
    return next((t for t in client.get("tags")["tags"] if t["name"] == tag), None)


def _create(client: Client, fleet: Fleet, droplet: Droplet, vpc: str, keys: list[str], say: Say) -> None:
    """Ask for one droplet, once."""

    def look() -> Json | None:
        found, _ = find_droplets(client, fleet, {"id": vpc})
        return found.get(droplet.name)

    body = {
        "name": droplet.name,
        "region": fleet.region,
        "size": droplet.size,
        "image": fleet.image,
        "ssh_keys": keys,
        "vpc_uuid": vpc,
        "tags": tags_of(fleet, droplet.name),
        "monitoring": False,
        "ipv6": False,
    }
    client.make("droplets", body, look)
    say(f"droplet {droplet.name} asked for")


def _settle(client: Client, fleet: Fleet, droplet: Json, say: Say) -> Json:
    """Wait until a droplet is active; one whose creation errored is replaced, once. FleetError names it."""
    if droplet["status"] == "active" and address(droplet, "public"):
        return droplet
    name, id, replaced = droplet["name"], droplet["id"], False
    end = time.monotonic() + ACTIVE_SECONDS
    while True:
        droplet = client.get(f"droplets/{id}")["droplet"]
        if droplet["status"] == "active" and address(droplet, "public"):
            say(f"droplet {name} is active")
            return droplet
        actions = client.get(f"droplets/{id}/actions")["actions"]
        errored = any(a["type"] == "create" and a["status"] == "errored" for a in actions)
        created = any(a["type"] == "create" and a["status"] == "completed" for a in actions)
        if droplet["status"] == "off" and created:
            raise FleetError(
                f"{name}: the droplet is switched off. Switch it on, or destroy it, and run again."
            )
        if errored and not created:
            # It never ran, so nothing can be lost with it.
            if replaced:
                raise FleetError(
                    f"{name}: DigitalOcean could not create it, twice (droplet {id}). Run again later."
                )
            say(f"droplet {name} failed, trying once more")
            client.delete(f"droplets/{id}")
            wanted, replaced = fleet.droplet(name), True
            _create(client, fleet, wanted, droplet["vpc_uuid"], list(public_keys(fleet)), say)
            found, _ = find_droplets(client, fleet, {"id": droplet["vpc_uuid"]})
            id = found[name]["id"]
        if time.monotonic() > end:
            raise FleetError(
                f"{name}: not active after {ACTIVE_SECONDS:.0f} s (droplet {id}). Run again later."
            )
        time.sleep(0.5 if "127.0.0.1" in client.end_point else 3)


def _balance(
    client: Client, fleet: Fleet, found: Survey, todo: Plan, vpc: Json | None, say: Say
) -> dict[str, str]:
    """Make and correct the load balancers; {name: address} of all that the inventory names, when active."""
    if not fleet.load_balancers:
        return {}
    for balancer in todo.balancers:
        if vpc is None:
            raise FleetError(f"the VPC {fleet_tag(fleet)} was created but cannot be found; run again")
        make_balancer(client, fleet, balancer, vpc["id"])
        say(f"load balancer {balancer.name} asked for")
    for balancer in todo.corrected:
        correct_balancer(client, fleet, balancer, found.balancers[balancer.name])
        say(f"load balancer {balancer.name} corrected")
    now = find_balancers(client, fleet)
    wanted = [balancer.name for balancer in fleet.load_balancers]
    return {name: settled(client, now[name], say)["ip"] for name in wanted}


def point(client: Client, fleet: Fleet, name: str, targets: dict[str, str], say: Say) -> None:
    """Make the DNS name lead to these (droplets or load balancers, with their addresses) and nowhere else."""
    _point(client, zone_of(fleet, name), name, list(targets.values()))
    say(f"DNS {name} -> {', '.join(targets)}")


def _point(client: Client, zone: str, name: str, addresses: list[str]) -> None:
    """Make the DNS name say `addresses` and nothing else: correct, add, then remove."""
    path, short = f"domains/{zone}/records", relative(name, zone)
    now = own_records(records_of(client, zone) or [], name, zone)
    missing = list(addresses)
    spare = []
    for record in now:
        if record["type"] == "A" and record["data"] in missing:
            missing.remove(record["data"])
        else:
            spare.append(record)
    for record in [r for r in spare if r["type"] != "A"]:
        spare.remove(record)  # a CNAME bears no A beside it, so it goes first
        client.delete(f"{path}/{record['id']}")
    for data in missing:
        body = {"type": "A", "name": short, "data": data, "ttl": TTL}
        if spare:
            client.put(f"{path}/{spare.pop()['id']}", body)
        else:
            client.make(path, body, lambda d=data: _record(client, zone, name, d))  # type: ignore[misc]
    for record in spare:
        client.delete(f"{path}/{record['id']}")


def _record(client: Client, zone: str, name: str, data: str) -> Json | None:
    return next(
        (r for r in own_records(records_of(client, zone) or [], name, zone) if r["data"] == data), None
    )


def destroy_fleet(client: Client, fleet: Fleet, say: Say) -> None:
    """Destroy all droplets with the fleet's tag, its load balancers, the records that point at any of them,
    its firewall and its VPC."""
    vpc = find_vpc(client, fleet)
    found, strangers = find_droplets(client, fleet, vpc)
    droplets = [*found.values(), *strangers]
    balancers = find_balancers(client, fleet)
    gone = {address(droplet, "public") for droplet in droplets} | {b.get("ip") for b in balancers.values()}
    for zone in sorted({zone_of(fleet, n) for app in fleet.apps for n in (app.domain, *app.aliases)}):
        for record in records_of(client, zone) or []:
            if record["type"] == "A" and record["data"] in gone:
                client.delete(f"domains/{zone}/records/{record['id']}")
    for name, balancer in balancers.items():
        client.delete(f"load_balancers/{balancer['id']}")
        say(f"load balancer {name} destroyed")
    together(lambda d: client.delete(f"droplets/{d['id']}"), droplets, lambda d: str(d["name"]))
    for droplet in droplets:
        say(f"droplet {droplet['name']} destroyed")
    if (firewall := find_firewall(client, fleet)) is not None:
        client.delete(f"firewalls/{firewall['id']}")
    if vpc is not None:
        for left in range(30, -1, -1):  # DigitalOcean frees the VPC some seconds after its droplets
            try:
                client.delete(f"vpcs/{vpc['id']}")
                break
            except CloudError as error:
                if error.status not in (403, 409) or not left:
                    raise
                time.sleep(2)
