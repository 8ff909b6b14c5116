"""Droplets: create, list, get, delete."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.cloud import Cloud, Here
from smallfleet.lab.api.errors import unprocessable
from smallfleet.lab.api.keys import find_key
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.resolve import firewall_droplets
from smallfleet.lab.api.store import Data, next_id, now
from smallfleet.lab.api.tags import add_tags
from smallfleet.lab.api.views import action_link, droplet_view, snapshot_view
from smallfleet.lab.api.vpcs import default_vpc
from smallfleet.lab.descriptor import droplet_limit
from smallfleet.lab.errors import LabError
from smallfleet.lab.parts import MachineSpec

router = APIRouter(prefix="/droplets")

FIRST_PUBLIC = 10  # of the public range; below are the gateway and what may stand beside it
FIRST_RESERVED = 200  # from here on reserved IPs


class NewDroplets(BaseModel):
    name: str | None = None
    names: list[str] | None = Field(default=None, max_length=10)
    region: str
    size: str
    image: int | str
    ssh_keys: list[int | str] | None = None
    tags: list[str] | None = None
    vpc_uuid: str | None = None
    user_data: str | None = Field(default=None, max_length=65536)


def valid_name(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?", name):
        raise unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    return name


def _free_address(cidr: str, first: int, last: int, taken: set[str]) -> str:
    network = ipaddress.ip_network(cidr)
    for offset in range(first, min(last, network.num_addresses - 2) + 1):
        address = str(network[offset])
        if address not in taken:
            return address
    raise unprocessable(f"no address is free in {cidr}")


def _checked(cloud: Cloud, data: Data, body: NewDroplets) -> dict[str, Any]:
    """What all new droplets share, checked; changes nothing but may make the region's default VPC."""
    catalogue.region(body.region)
    catalogue.size(body.size)
    image = catalogue.find_image(data, cloud.parts.images, body.image)
    if image is None:
        raise unprocessable("You specified an invalid image for Droplet creation.")
    keys = []
    for wanted in body.ssh_keys or []:
        key = find_key(data, wanted)
        if key is None:
            raise unprocessable(f"{wanted} are invalid key identifiers for Droplet creation.")
        keys.append(key["public_key"])
    vpc = data["vpcs"].get(body.vpc_uuid) if body.vpc_uuid else default_vpc(data, body.region)
    if vpc is None or vpc["region"] != body.region:
        raise unprocessable("VPC does not exist in this region: check vpc_uuid")
    return {
        "region": body.region,
        "size": body.size,
        "image": image,
        "ssh_keys": keys,
        "user_data": body.user_data,
        "vpc_uuid": vpc["id"],
        "vpc_range": vpc["ip_range"],
    }


def machine_spec(droplet: dict[str, Any]) -> MachineSpec:
    """The droplet as the machines want it."""
    size = catalogue.size(droplet["size"])
    return MachineSpec(
        id=droplet["id"],
        name=droplet["name"],
        image=catalogue.machine_image(droplet["image"]),
        memory=size["memory"],
        vcpus=size["vcpus"],
        public_address=droplet["public_address"],
        private_address=droplet["private_address"],
        vpc_range=droplet["vpc_range"],
        vpc_id=droplet["vpc_uuid"],
        ssh_keys=tuple(droplet["ssh_keys"]),
        user_data=droplet["user_data"],
    )


@router.post("", status_code=202)
def create_droplets(cloud: Here, request: Request, body: NewDroplets) -> dict[str, Any]:
    names = [valid_name(name) for name in (body.names or ([body.name] if body.name else []))]
    if not names:
        raise unprocessable("name: field required")
    with cloud.store.change() as data:
        if len(data["droplets"]) + len(names) > droplet_limit():
            raise unprocessable("creating this/these droplet(s) will exceed your droplet limit")
        shared = _checked(cloud, data, body)
        tags = add_tags(data, body.tags or [])
        droplets = []
        for name in names:
            others = data["droplets"].values()
            public = {d["public_address"] for d in others}
            private = {d["private_address"] for d in others if d["vpc_uuid"] == shared["vpc_uuid"]}
            droplet = {
                **shared,
                "id": next_id(data),
                "name": name,
                "tags": list(tags),
                "status": "new",
                "locked": True,
                "created_at": now(),
                "public_address": _free_address(
                    cloud.parts.public_range, FIRST_PUBLIC, FIRST_RESERVED - 1, public
                ),
                "private_address": _free_address(shared["vpc_range"], 2, 65533, private),
            }
            data["droplets"][str(droplet["id"])] = droplet
            droplets.append(droplet)
        actions = [cloud.action(data, "create", d["id"], "droplet", d["region"]) for d in droplets]
        views = [droplet_view(cloud, data, droplet, fresh=True) for droplet in droplets]
    for droplet, action in zip(droplets, actions, strict=True):
        _start_create(cloud, droplet, action)
    rel = "multiple_create" if body.names else "create"
    links = {"actions": [action_link(str(request.base_url), action, rel) for action in actions]}
    return {"droplets": views, "links": links} if body.names else {"droplet": views[0], "links": links}


def _start_create(cloud: Cloud, droplet: dict[str, Any], action: dict[str, Any]) -> None:
    spec = machine_spec(droplet)

    def work() -> None:
        if cloud.faults.for_droplet(spec.name):
            raise LabError(f"droplet {spec.name} was asked to fail (/lab/faults)")
        # First the rules, then the machine: it is never on the network without its firewall.
        cloud.apply_firewalls()
        cloud.parts.machines.create(spec)

    def done(data: Data, result: Any) -> None:
        data["droplets"][str(spec.id)]["status"] = "active"

    cloud.run(action, work, done)


@router.get("")
def list_droplets(
    cloud: Here, page: Paged, tag_name: str | None = None, name: str | None = None
) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of(
            "droplets",
            [
                droplet_view(cloud, data, droplet)
                for droplet in data["droplets"].values()
                if (tag_name is None or tag_name.lower() in map(str.lower, droplet["tags"]))
                and (name is None or name.lower() == droplet["name"].lower())
            ],
        )


@router.delete("", status_code=204)
def delete_by_tag(cloud: Here, tag_name: Annotated[str, Query()]) -> Response:
    with cloud.store.read() as data:
        ids = [d["id"] for d in data["droplets"].values() if tag_name in d["tags"]]
    for id in ids:
        _destroy(cloud, id)
    return Response(status_code=204)


@router.get("/{id}")
def get_droplet(cloud: Here, id: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"droplet": droplet_view(cloud, data, cloud.droplet(data, id))}


@router.delete("/{id}", status_code=204)
def delete_droplet(cloud: Here, id: int) -> Response:
    with cloud.store.read() as data:
        cloud.droplet(data, id)
    _destroy(cloud, id)
    return Response(status_code=204)


def _destroy(cloud: Cloud, id: int) -> None:
    """Destroy the machine, then forget the droplet: cut off between, it can be asked for again."""
    with cloud.machine_lock(id):
        with cloud.store.read() as data:
            held = [ip["ip"] for ip in data["reserved_ips"].values() if ip["droplet_id"] == id]
        for address in held:
            cloud.parts.network.assign_reserved_ip(address, None)
        cloud.parts.machines.destroy(id)
        with cloud.store.change() as data:
            data["droplets"].pop(str(id), None)
            for address in held:
                data["reserved_ips"][address]["droplet_id"] = None
            for firewall in data["firewalls"].values():
                firewall["droplet_ids"] = [other for other in firewall["droplet_ids"] if other != id]
    cloud.apply_firewalls()


@router.get("/{id}/snapshots")
def list_snapshots(cloud: Here, page: Paged, id: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        cloud.droplet(data, id)
        own = [snapshot_view(image) for image in data["images"].values() if image["droplet_id"] == id]
        return page.of("snapshots", own)


@router.get("/{id}/firewalls")
def list_firewalls(cloud: Here, page: Paged, id: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        cloud.droplet(data, id)
        return page.of(
            "firewalls", [f for f in data["firewalls"].values() if id in firewall_droplets(data, f)]
        )
