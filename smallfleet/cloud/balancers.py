"""DigitalOcean's load balancers: what they should be, made, corrected and removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from smallfleet.cloud.client import Client
from smallfleet.cloud.survey import Json, find_balancers, fleet_tag
from smallfleet.errors import FleetError
from smallfleet.model.balancing import ALIVE, CHECK_SECONDS, CHECKS, PORTS
from smallfleet.model.fleet import Fleet, LoadBalancer

ACTIVE_SECONDS = 600.0  # DigitalOcean takes a minute or two to make one


def wanted_balancer(fleet: Fleet, balancer: LoadBalancer) -> Json:
    """The load balancer as the API takes it, but for its VPC.

    TLS passes through, so the certificates stay on the droplets; the PROXY protocol says who asks. It finds
    its droplets by the tag of a role, so that one that is added to the role is behind it at once.
    """
    return {
        "name": f"{fleet_tag(fleet)}-{balancer.name}",
        "region": fleet.region,
        "size_unit": balancer.size_unit,
        "tag": f"{fleet_tag(fleet)}:{balancer.roles[0]}",
        "forwarding_rules": [
            {"entry_protocol": "tcp", "entry_port": port, "target_protocol": "tcp", "target_port": target}
            for port, target in PORTS.items()
        ],
        "health_check": {
            "protocol": "http",
            "port": PORTS[
                80
            ],  # with the PROXY protocol too, which DigitalOcean's checks speak where traffic does
            "path": ALIVE,
            "check_interval_seconds": CHECK_SECONDS,
            "response_timeout_seconds": CHECK_SECONDS,
            "unhealthy_threshold": CHECKS,
            "healthy_threshold": CHECKS,
        },
        "enable_proxy_protocol": True,
    }


def differs(now: Json, wanted: Json) -> bool:
    """Whether a load balancer is not as it should be. What DigitalOcean adds by itself does not count."""
    return any(not _covers(now.get(key), value) for key, value in wanted.items() if key != "region")


def _covers(now: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(now, dict) and all(_covers(now.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(now, list) or len(now) != len(wanted):
            return False
        # Rules may come back in any order.
        return all(any(_covers(there, one) for there in now) for one in wanted)
    return bool(now == wanted)


def make_balancer(client: Client, fleet: Fleet, balancer: LoadBalancer, vpc: str) -> None:
    """Ask for it, once."""
    body = {**wanted_balancer(fleet, balancer), "vpc_uuid": vpc}
    client.make("load_balancers", body, lambda: find_balancers(client, fleet).get(balancer.name))


def correct_balancer(client: Client, fleet: Fleet, balancer: LoadBalancer, now: Json) -> None:
    """Have an existing one be as it should; a PUT has to say all of it."""
    client.put(
        f"load_balancers/{now['id']}", {**wanted_balancer(fleet, balancer), "vpc_uuid": now.get("vpc_uuid")}
    )


def settled(client: Client, balancer: Json, say: Callable[[str], None]) -> Json:
    """Wait until a load balancer is active and has its address."""
    if balancer["status"] == "active" and balancer.get("ip"):
        return balancer
    name, id = balancer["name"], balancer["id"]
    end = time.monotonic() + ACTIVE_SECONDS
    while True:
        balancer = client.get(f"load_balancers/{id}")["load_balancer"]
        if balancer["status"] == "active" and balancer.get("ip"):
            say(f"load balancer {name} is active at {balancer['ip']}")
            return balancer
        if balancer["status"] == "errored" or time.monotonic() > end:
            raise FleetError(
                f"{name}: the load balancer is {balancer['status']} ({id}). Remove it in the control panel, "
                "and run again."
            )
        time.sleep(0.5 if "127.0.0.1" in client.end_point else 3)
