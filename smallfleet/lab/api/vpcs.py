"""VPCs: private networks, one default per region."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.errors import ApiError, not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data, now

router = APIRouter(prefix="/vpcs")


class NewVpc(BaseModel):
    name: str
    region: str
    ip_range: str | None = None
    description: str | None = None


class VpcChange(BaseModel):
    name: str | None = None
    description: str | None = None
    default: bool | None = None


def _vpc(data: Data, id: str) -> dict[str, Any]:
    if id not in data["vpcs"]:
        raise not_found()
    return data["vpcs"][id]


def _free_range(data: Data) -> str:
    """A /20 of 10.0.0.0/8 that no VPC of the account overlaps."""
    taken = [ipaddress.ip_network(vpc["ip_range"]) for vpc in data["vpcs"].values()]
    for candidate in ipaddress.ip_network("10.104.0.0/13").subnets(new_prefix=20):
        if not any(candidate.overlaps(network) for network in taken):
            return str(candidate)
    raise unprocessable("no range is free")


def _checked_range(data: Data, text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise unprocessable("ip_range is not a valid CIDR block") from None
    if not network.is_private or not 16 <= network.prefixlen <= 28:
        raise unprocessable("ip_range must be a private range between /28 and /16")
    for vpc in data["vpcs"].values():
        if network.overlaps(ipaddress.IPv4Network(vpc["ip_range"])):
            raise unprocessable("This range/size overlaps with another VPC network in your account")
    return str(network)


def _add(
    data: Data, name: str, region: str, ip_range: str, description: str, default: bool
) -> dict[str, Any]:
    id = str(uuid.uuid4())
    data["vpcs"][id] = {
        "id": id,
        "urn": f"do:vpc:{id}",
        "name": name,
        "description": description,
        "region": region,
        "ip_range": ip_range,
        "default": default,
        "created_at": now(),
    }
    return data["vpcs"][id]


def default_vpc(data: Data, region: str) -> dict[str, Any]:
    """The region's default VPC, made when it is first asked for."""
    for vpc in data["vpcs"].values():
        if vpc["region"] == region and vpc["default"]:
            return vpc
    return _add(data, f"default-{region}", region, _free_range(data), "", True)


def _members(data: Data, id: str) -> list[dict[str, Any]]:
    return [droplet for droplet in data["droplets"].values() if droplet["vpc_uuid"] == id]


def _is_used(data: Data, id: str) -> bool:
    balancers = data["load_balancers"].values()
    return bool(_members(data, id)) or any(balancer["vpc_uuid"] == id for balancer in balancers)


@router.get("")
def list_vpcs(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("vpcs", list(data["vpcs"].values()))


@router.post("", status_code=201)
def create_vpc(cloud: Here, body: NewVpc) -> dict[str, Any]:
    catalogue.region(body.region)
    with cloud.store.change() as data:
        if any(vpc["name"] == body.name for vpc in data["vpcs"].values()):
            raise ApiError(409, "a VPC with this name already exists in your account")
        # The first VPC of a region does not become its default here: DigitalOcean has made one before.
        ip_range = _checked_range(data, body.ip_range) if body.ip_range else _free_range(data)
        return {"vpc": _add(data, body.name, body.region, ip_range, body.description or "", False)}


@router.get("/{id}")
def get_vpc(cloud: Here, id: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"vpc": _vpc(data, id)}


@router.put("/{id}")
@router.patch("/{id}")
def change_vpc(cloud: Here, id: str, body: VpcChange) -> dict[str, Any]:
    with cloud.store.change() as data:
        vpc = _vpc(data, id)
        if body.name and any(v["name"] == body.name and v is not vpc for v in data["vpcs"].values()):
            raise ApiError(409, "a VPC with this name already exists in your account")
        if body.default:
            for other in data["vpcs"].values():
                if other["region"] == vpc["region"]:
                    other["default"] = other is vpc
        vpc.update(body.model_dump(include={"name", "description"}, exclude_none=True))
        return {"vpc": vpc}


@router.delete("/{id}", status_code=204)
def delete_vpc(cloud: Here, id: str) -> Response:
    with cloud.store.change() as data:
        vpc = _vpc(data, id)
        if vpc["default"]:
            raise ApiError(403, "Can not delete default VPCs")
        if _is_used(data, id):
            raise ApiError(409, "Can not delete VPC with members")
        del data["vpcs"][id]
    return Response(status_code=204)


@router.get("/{id}/members")
def list_members(cloud: Here, page: Paged, id: str, resource_type: str | None = None) -> dict[str, Any]:
    with cloud.store.read() as data:
        _vpc(data, id)
        members = [
            {"urn": f"do:droplet:{d['id']}", "name": d["name"], "created_at": d["created_at"]}
            for d in _members(data, id)
            if resource_type in (None, "droplet")
        ]
        return page.of("members", members)
