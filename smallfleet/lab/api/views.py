"""Resources as the API gives them, made from the account's state."""

from __future__ import annotations

import ipaddress
from typing import Any

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.cloud import Cloud
from smallfleet.lab.api.store import Data


def droplet_view(cloud: Cloud, data: Data, droplet: dict[str, Any], fresh: bool = False) -> dict[str, Any]:
    """A droplet. `fresh`: in the answer to its creation, where DigitalOcean gives no addresses yet."""
    size = catalogue.size(droplet["size"])
    networks: list[dict[str, Any]] = []
    if not fresh:
        public = ipaddress.ip_network(cloud.parts.public_range)
        private = ipaddress.ip_network(droplet["vpc_range"])
        networks = [
            _network(droplet["private_address"], private, "private"),
            _network(droplet["public_address"], public, "public"),
        ]
    return {
        "id": droplet["id"],
        "name": droplet["name"],
        "memory": size["memory"],
        "vcpus": size["vcpus"],
        "disk": size["disk"],
        "disk_info": [{"type": "local", "size": {"amount": size["disk"], "unit": "gib"}}],
        "locked": droplet["locked"],
        "status": cloud.status(droplet),
        "kernel": None,
        "created_at": droplet["created_at"],
        "features": ["private_networking"],
        "backup_ids": [],
        "next_backup_window": None,
        "snapshot_ids": [i["id"] for i in data["images"].values() if i["droplet_id"] == droplet["id"]],
        "image": image_view(droplet["image"]),
        "volume_ids": [],
        "size": size,
        "size_slug": size["slug"],
        "networks": {"v4": networks, "v6": []},
        "region": catalogue.region(droplet["region"]),
        "tags": droplet["tags"],
        "vpc_uuid": droplet["vpc_uuid"],
    }


def _network(address: str, network: Any, kind: str) -> dict[str, Any]:
    gateway = str(network.network_address + 1)
    return {"ip_address": address, "netmask": str(network.netmask), "gateway": gateway, "type": kind}


def action_view(action: dict[str, Any]) -> dict[str, Any]:
    return {**action, "region": catalogue.region(action["region_slug"])}


def action_link(base: str, action: dict[str, Any], rel: str) -> dict[str, Any]:
    return {"id": action["id"], "rel": rel, "href": f"{base}v2/actions/{action['id']}"}


def image_view(image: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in image.items() if key != "droplet_id"}


def snapshot_view(image: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(image["id"]),
        "name": image["name"],
        "created_at": image["created_at"],
        "regions": image["regions"],
        "resource_id": str(image["droplet_id"]),
        "resource_type": "droplet",
        "min_disk_size": image["min_disk_size"],
        "size_gigabytes": image["size_gigabytes"],
        "tags": image["tags"],
    }
