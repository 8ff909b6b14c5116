"""What is there: the account as it is, read anew each time."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from smallfleet.cloud.client import Client, CloudError
from smallfleet.cloud.droplet import Json
from smallfleet.cloud.droplet import address as address
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet


def fleet_tag(fleet: Fleet) -> str:
    """The tag that all of a fleet's droplets carry; its VPC and firewall have it as their name."""
    return f"smallfleet-{fleet.name}"


def tags_of(fleet: Fleet, name: str) -> list[str]:
    """A droplet's tags: the fleet's and one per role that the inventory gives it."""
    return [fleet_tag(fleet), *(f"{fleet_tag(fleet)}:{role}" for role in fleet.droplet(name).roles)]


def public_keys(fleet: Fleet) -> dict[str, str]:
    """{fingerprint: public key}; the fingerprint is MD5 in hex with colons, as DigitalOcean's."""
    keys: dict[str, str] = {}
    for path in fleet.ssh_keys:
        try:
            text = path.read_text().strip()
            blob = base64.b64decode(text.split()[1], validate=True)
        except OSError as error:
            raise FleetError(
                f"{fleet.where}: the SSH key {path}: {error.strerror}. ssh-keygen makes one"
            ) from None
        except (IndexError, ValueError):
            raise FleetError(f"{fleet.where}: {path} is no public SSH key") from None
        keys[hashlib.md5(blob, usedforsecurity=False).digest().hex(":")] = text
    return keys


def zone_of(fleet: Fleet, name: str) -> str:
    """The domain that the DNS name belongs to: the fleet's, or the shortest app's name that ends it."""
    names = [fleet.domain] + [n for app in fleet.apps for n in (app.domain, *app.aliases)]
    return min((z for z in names if name == z or name.endswith(f".{z}")), key=len)


@dataclass
class Survey:
    """The account, as far as it concerns a fleet."""

    vpc: Json | None = None
    keys: dict[str, Json] = field(default_factory=dict)  # by fingerprint
    tags: set[str] = field(default_factory=set)
    firewall: Json | None = None
    droplets: dict[str, Json] = field(default_factory=dict)  # the inventory's, by name
    strangers: list[Json] = field(default_factory=list)  # have the fleet's tag, not in the inventory
    balancers: dict[str, Json] = field(default_factory=dict)  # load balancers, by their name in the inventory
    records: dict[str, list[Json] | None] = field(default_factory=dict)  # by domain; None: no such domain
    prices: dict[str, float] = field(default_factory=dict)  # USD a month, by size


def find_vpc(client: Client, fleet: Fleet) -> Json | None:
    for vpc in client.get("vpcs")["vpcs"]:
        if vpc["name"] == fleet_tag(fleet):
            if vpc["region"] != fleet.region or vpc["ip_range"] != fleet.vpc:
                raise FleetError(
                    f"{fleet.where}: the VPC {vpc['name']} exists as {vpc['ip_range']} in {vpc['region']}, "
                    f"the inventory says {fleet.vpc} in {fleet.region}. A VPC cannot be changed: put the "
                    "inventory right, or destroy the fleet first."
                )
            return vpc
    return None


def find_firewall(client: Client, fleet: Fleet) -> Json | None:
    return next((f for f in client.get("firewalls")["firewalls"] if f["name"] == fleet_tag(fleet)), None)


def find_balancers(client: Client, fleet: Fleet) -> dict[str, Json]:
    """The fleet's load balancers, by their name in the inventory, which may not name all of them any more."""
    prefix = f"{fleet_tag(fleet)}-"
    try:
        found = client.get("load_balancers")["load_balancers"]
    except CloudError as error:
        if error.status != 403 or fleet.load_balancers:
            raise
        return {}  # a token that may not see any, which a fleet without them does not need
    return {b["name"].removeprefix(prefix): b for b in found if b["name"].startswith(prefix)}


def find_key(client: Client, fingerprint: str) -> Json | None:
    return next((k for k in client.get("account/keys")["ssh_keys"] if k["fingerprint"] == fingerprint), None)


def find_droplets(client: Client, fleet: Fleet, vpc: Json | None) -> tuple[dict[str, Json], list[Json]]:
    """The fleet's droplets by name (tagged, or of its name in its VPC), and tagged ones it does not name."""
    wanted = {droplet.name for droplet in fleet.droplets}
    found: dict[str, Json] = {}
    strangers = []
    for droplet in sorted(client.get("droplets")["droplets"], key=lambda d: d["id"]):
        tagged = fleet_tag(fleet) in droplet["tags"]
        ours = tagged or (vpc is not None and droplet.get("vpc_uuid") == vpc["id"])
        if ours and droplet["name"] in wanted:
            if (other := found.get(droplet["name"])) is not None:
                raise FleetError(
                    f"there are two droplets called {droplet['name']} ({other['id']} and {droplet['id']}). "
                    "Rename or destroy the one that is not the fleet's."
                )
            found[droplet["name"]] = droplet
        elif tagged:
            strangers.append(droplet)
    return found, strangers


def records_of(client: Client, domain: str) -> list[Json] | None:
    try:
        return client.get(f"domains/{domain}/records")["domain_records"]
    except CloudError as error:
        if error.status == 404:
            return None
        raise


def survey(client: Client, fleet: Fleet) -> Survey:
    """Read the account, all at once: nothing is changed."""
    names = [name for app in fleet.apps for name in (app.domain, *app.aliases)]
    domains = sorted({zone_of(fleet, name) for name in names})
    with ThreadPoolExecutor(8) as pool:
        vpc = pool.submit(find_vpc, client, fleet)
        firewall = pool.submit(find_firewall, client, fleet)
        keys, tags, sizes = (pool.submit(client.get, path) for path in ("account/keys", "tags", "sizes"))
        balancers = pool.submit(find_balancers, client, fleet)
        records = {domain: pool.submit(records_of, client, domain) for domain in domains}
        droplets, strangers = find_droplets(client, fleet, vpc.result())
        return Survey(
            vpc=vpc.result(),
            keys={key["fingerprint"]: key for key in keys.result()["ssh_keys"]},
            tags={tag["name"] for tag in tags.result()["tags"]},
            firewall=firewall.result(),
            droplets=droplets,
            strangers=strangers,
            balancers=balancers.result(),
            records={domain: found.result() for domain, found in records.items()},
            prices={size["slug"]: float(size["price_monthly"]) for size in sizes.result()["sizes"]},
        )
