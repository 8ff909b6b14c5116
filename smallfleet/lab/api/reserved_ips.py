"""Reserved IPs, also under their old name of floating IPs (which python-digitalocean uses)."""

from __future__ import annotations

import ipaddress
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.actions import actions_of, get_one
from smallfleet.lab.api.cloud import Cloud, Here
from smallfleet.lab.api.droplets import FIRST_RESERVED
from smallfleet.lab.api.errors import not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data, now
from smallfleet.lab.api.views import action_link, action_view, droplet_view


class NewReservedIp(BaseModel):
    droplet_id: int | None = None
    region: str | None = None


class IpAction(BaseModel):
    type: Literal["assign", "unassign"]
    droplet_id: int | None = None


def _ip(data: Data, address: str) -> dict[str, Any]:
    if address not in data["reserved_ips"]:
        raise not_found()
    return data["reserved_ips"][address]


def _view(cloud: Cloud, data: Data, ip: dict[str, Any]) -> dict[str, Any]:
    droplet = data["droplets"].get(str(ip["droplet_id"]))
    return {
        "ip": ip["ip"],
        "droplet": droplet and droplet_view(cloud, data, droplet),
        "region": catalogue.region(ip["region"]),
        "locked": False,
        "project_id": data["uuid"],
    }


def _assign(cloud: Cloud, data: Data, ip: dict[str, Any], droplet: int | None) -> dict[str, Any]:
    """Point the address at a droplet of its region, or at none; the completed action."""
    if droplet is not None:
        if str(droplet) not in data["droplets"]:
            raise unprocessable("The Droplet does not exist.")
        if data["droplets"][str(droplet)]["region"] != ip["region"]:
            raise unprocessable("The Droplet and the reserved IP must be in the same region.")
        if any(other["droplet_id"] == droplet and other is not ip for other in data["reserved_ips"].values()):
            raise unprocessable("The Droplet already has a reserved IP assigned.")
    elif ip["droplet_id"] is None:
        raise unprocessable("The reserved IP is not assigned.")
    cloud.parts.network.assign_reserved_ip(ip["ip"], droplet)
    ip["droplet_id"] = droplet
    number = int(ipaddress.ip_address(ip["ip"]))
    kind = "unassign_ip" if droplet is None else "assign_ip"
    action = cloud.action(data, kind, number, "reserved_ip", ip["region"])
    action.update(status="completed", completed_at=now())
    return action


def make(prefix: str, one: str) -> APIRouter:
    """The routes under `prefix`, with the JSON key `one` (and `one` + "s" for lists)."""
    router = APIRouter(prefix=prefix)

    @router.get("")
    def list_ips(cloud: Here, page: Paged) -> dict[str, Any]:
        with cloud.store.read() as data:
            return page.of(f"{one}s", [_view(cloud, data, ip) for ip in data["reserved_ips"].values()])

    @router.post("", status_code=202)
    def create_ip(cloud: Here, body: NewReservedIp, request: Request) -> dict[str, Any]:
        with cloud.store.change() as data:
            if body.droplet_id is not None:
                region = cloud.droplet(data, body.droplet_id)["region"]
            else:
                region = catalogue.region(body.region or "")["slug"]
            network = ipaddress.ip_network(cloud.parts.public_range)
            free = [
                str(network[n])
                for n in range(FIRST_RESERVED, 255)
                if str(network[n]) not in data["reserved_ips"]
            ]
            if not free:
                raise unprocessable("reserved IP limit reached")
            ip = {"ip": free[0], "droplet_id": None, "region": region}
            links: dict[str, Any] = {}
            if body.droplet_id is not None:
                action = _assign(cloud, data, ip, body.droplet_id)
                links = {"actions": [action_link(str(request.base_url), action, "assign_ip")]}
            data["reserved_ips"][ip["ip"]] = ip
            return {one: _view(cloud, data, ip), "links": links}

    @router.get("/{address}")
    def get_ip(cloud: Here, address: str) -> dict[str, Any]:
        with cloud.store.read() as data:
            return {one: _view(cloud, data, _ip(data, address))}

    @router.delete("/{address}", status_code=204)
    def delete_ip(cloud: Here, address: str) -> Response:
        with cloud.store.change() as data:
            if _ip(data, address)["droplet_id"] is not None:
                cloud.parts.network.assign_reserved_ip(address, None)
            del data["reserved_ips"][address]
        return Response(status_code=204)

    @router.post("/{address}/actions", status_code=201)
    def act(cloud: Here, address: str, body: IpAction) -> dict[str, Any]:
        if body.type == "assign" and body.droplet_id is None:
            raise unprocessable("droplet_id: field required")
        with cloud.store.change() as data:
            droplet = body.droplet_id if body.type == "assign" else None
            return {"action": action_view(_assign(cloud, data, _ip(data, address), droplet))}

    @router.get("/{address}/actions")
    def list_actions(cloud: Here, page: Paged, address: str) -> dict[str, Any]:
        with cloud.store.read() as data:
            _ip(data, address)
            number = int(ipaddress.ip_address(address))
            return page.of("actions", actions_of(data, "reserved_ip", number))

    @router.get("/{address}/actions/{action}")
    def get_action(cloud: Here, address: str, action: int) -> dict[str, Any]:
        with cloud.store.read() as data:
            _ip(data, address)
            return get_one(data, action)

    return router


routers = [make("/reserved_ips", "reserved_ip"), make("/floating_ips", "floating_ip")]
