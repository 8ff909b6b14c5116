"""Load balancers: regional, TCP. Their droplets are given by id or by one tag."""

from __future__ import annotations

import ipaddress
import threading
import uuid
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, model_validator

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.cloud import Cloud, Here
from smallfleet.lab.api.errors import ApiError, not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.resolve import balancer_droplets
from smallfleet.lab.api.store import Data, next_id, now
from smallfleet.lab.api.vpcs import default_vpc

router = APIRouter(prefix="/load_balancers")
Port = Field(ge=1, le=65535)


class ForwardingRule(BaseModel):
    """TCP alone: the lab has not what HTTP's rules add, certificates of the load balancer's own above all."""

    entry_protocol: Literal["tcp"]
    entry_port: int = Port
    target_protocol: Literal["tcp"]
    target_port: int = Port
    certificate_id: str = ""
    tls_passthrough: bool = False


class HealthCheck(BaseModel):
    protocol: Literal["http", "tcp"] = "http"
    port: int = Field(default=80, ge=1, le=65535)
    path: str = Field(default="/", pattern="^/")
    check_interval_seconds: int = Field(default=10, ge=3, le=300)
    response_timeout_seconds: int = Field(default=5, ge=3, le=300)
    unhealthy_threshold: int = Field(default=5, ge=2, le=10)
    healthy_threshold: int = Field(default=3, ge=2, le=10)


class NewBalancer(BaseModel):
    name: str = Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,253}[a-zA-Z0-9])?$")
    region: str
    size_unit: int = Field(default=1, ge=1, le=100)
    forwarding_rules: list[ForwardingRule] = Field(min_length=1)
    health_check: HealthCheck = HealthCheck()
    enable_proxy_protocol: bool = False
    vpc_uuid: str | None = None
    tag: str | None = None
    droplet_ids: list[int] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> NewBalancer:
        if self.tag and self.droplet_ids:
            raise ValueError("only one of tag or droplet_ids can be specified")
        ports = [rule.entry_port for rule in self.forwarding_rules]
        if len(set(ports)) < len(ports):
            raise ValueError("forwarding_rules: an entry port is there twice")
        return self


class Droplets(BaseModel):
    droplet_ids: list[int]


def _balancer(data: Data, id: str) -> dict[str, Any]:
    if id not in data["load_balancers"]:
        raise not_found()
    return data["load_balancers"][id]


def _view(data: Data, balancer: dict[str, Any]) -> dict[str, Any]:
    active = balancer["status"] == "active"
    hidden = ("public_address", "private_address", "number", "vpc_range")
    return {
        **{key: value for key, value in balancer.items() if key not in hidden},
        "ip": balancer["public_address"] if active else "",
        "droplet_ids": balancer_droplets(data, balancer),
        "region": catalogue.region(balancer["region"]),
        "size": "lb-small",
        "algorithm": "round_robin",
        "sticky_sessions": {"type": "none"},
        "redirect_http_to_https": False,
        "enable_backend_keepalive": False,
        "http_idle_timeout_seconds": 60,
        "disable_lets_encrypt_dns_records": False,
        "network": "EXTERNAL",
        "type": "REGIONAL",
        "project_id": data["uuid"],
    }


def _content(data: Data, body: NewBalancer, id: str | None = None) -> dict[str, Any]:
    """The changeable part, checked."""
    if any(b["name"] == body.name and b["id"] != id for b in data["load_balancers"].values()):
        raise unprocessable("a load balancer with this name already exists")
    for droplet in body.droplet_ids or []:
        if str(droplet) not in data["droplets"]:
            raise unprocessable(f"droplet {droplet} does not exist")
    said = body.model_dump(
        include={"name", "size_unit", "forwarding_rules", "health_check", "enable_proxy_protocol"}
    )
    return {**said, "tag": body.tag or "", "droplet_ids": body.droplet_ids or []}


def _free(data: Data, cidr: str, column: str) -> str:
    """An address from the end of the range, away from where droplets get theirs."""
    others = [*data["droplets"].values(), *data["load_balancers"].values()]
    taken = {other[column] for other in others if column == "public_address" or other["vpc_range"] == cidr}
    taken |= set(data["reserved_ips"])
    network = ipaddress.ip_network(cidr)
    for offset in range(min(network.num_addresses, 255) - 2, 1, -1):
        if str(network[offset]) not in taken:
            return str(network[offset])
    raise unprocessable(f"no address is free in {cidr}")


@router.post("", status_code=202)
def create(cloud: Here, body: NewBalancer) -> dict[str, Any]:
    with cloud.store.change() as data:
        catalogue.region(body.region)
        vpc = data["vpcs"].get(body.vpc_uuid) if body.vpc_uuid else default_vpc(data, body.region)
        if vpc is None or vpc["region"] != body.region:
            raise unprocessable("VPC does not exist in this region: check vpc_uuid")
        balancer = {
            **_content(data, body),
            "id": str(uuid.uuid4()),
            "number": next_id(data),
            "region": body.region,
            "vpc_uuid": vpc["id"],
            "vpc_range": vpc["ip_range"],
            "status": "new",
            "created_at": now(),
            "public_address": _free(data, cloud.parts.public_range, "public_address"),
            "private_address": _free(data, vpc["ip_range"], "private_address"),
        }
        data["load_balancers"][balancer["id"]] = balancer
        view = _view(data, balancer)
    threading.Thread(target=_start, args=(cloud, balancer["id"]), daemon=True).start()
    return {"load_balancer": view}


def _start(cloud: Cloud, id: str) -> None:
    status = "active" if cloud.apply_balancers() else "errored"
    with cloud.store.change() as data:
        if id in data["load_balancers"]:
            data["load_balancers"][id]["status"] = status


@router.get("")
def list_balancers(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("load_balancers", [_view(data, one) for one in data["load_balancers"].values()])


@router.get("/{id}")
def get(cloud: Here, id: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"load_balancer": _view(data, _balancer(data, id))}


@router.put("/{id}")
def change(cloud: Here, id: str, body: NewBalancer) -> dict[str, Any]:
    with cloud.store.change() as data:
        balancer = _balancer(data, id)
        if body.region != balancer["region"] or body.vpc_uuid not in (None, balancer["vpc_uuid"]):
            raise unprocessable("region and vpc_uuid of a load balancer cannot be changed")
        balancer.update(_content(data, body, id))
        view = _view(data, balancer)
    cloud.apply_balancers()
    return {"load_balancer": view}


@router.delete("/{id}", status_code=204)
def delete(cloud: Here, id: str) -> Response:
    with cloud.store.change() as data:
        del data["load_balancers"][_balancer(data, id)["id"]]
    cloud.apply_balancers()
    return Response(status_code=204)


def _by_id(data: Data, id: str, body: Droplets) -> dict[str, Any]:
    balancer = _balancer(data, id)
    if balancer["tag"]:
        raise ApiError(422, "droplets of a load balancer with a tag are those that have the tag")
    for droplet in body.droplet_ids:
        if str(droplet) not in data["droplets"]:
            raise unprocessable(f"droplet {droplet} does not exist")
    return balancer


@router.post("/{id}/droplets", status_code=204)
def add(cloud: Here, id: str, body: Droplets) -> Response:
    with cloud.store.change() as data:
        balancer = _by_id(data, id, body)
        balancer["droplet_ids"] = list(dict.fromkeys([*balancer["droplet_ids"], *body.droplet_ids]))
    cloud.apply_balancers()
    return Response(status_code=204)


@router.delete("/{id}/droplets", status_code=204)
def remove(cloud: Here, id: str, body: Droplets) -> Response:
    with cloud.store.change() as data:
        balancer = _by_id(data, id, body)
        balancer["droplet_ids"] = [one for one in balancer["droplet_ids"] if one not in body.droplet_ids]
    cloud.apply_balancers()
    return Response(status_code=204)
