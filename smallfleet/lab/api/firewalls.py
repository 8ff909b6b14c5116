"""Cloud firewalls: each change is enforced when the answer comes."""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, field_validator

from smallfleet.lab.api.cloud import Cloud, Here
from smallfleet.lab.api.errors import ApiError, not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data, now

router = APIRouter(prefix="/firewalls")


class Targets(BaseModel):
    """Sources or destinations of a rule."""

    addresses: list[str] | None = None
    droplet_ids: list[int] | None = None
    tags: list[str] | None = None
    load_balancer_uids: list[str] | None = None

    @field_validator("addresses")
    @classmethod
    def _are_addresses(cls, addresses: list[str] | None) -> list[str] | None:
        for address in addresses or []:
            ipaddress.ip_network(address, strict=False)
        return addresses


class _Rule(BaseModel):
    protocol: Literal["tcp", "udp", "icmp"]
    ports: str = ""

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, ports: str) -> str:
        """As DigitalOcean gives them back: "0" for all."""
        if ports in ("", "0", "all"):
            return "0"
        if not re.fullmatch(r"\d+(-\d+)?", ports) or any(not 0 < int(p) < 65536 for p in ports.split("-")):
            raise ValueError("must be a port, a range of ports or all")
        return ports

    def stored(self) -> dict[str, Any]:
        rule = self.model_dump(exclude_none=True)
        for side in ("sources", "destinations"):
            if side in rule:
                rule[side] = {key: value for key, value in rule[side].items() if value}
        if self.protocol == "icmp":
            rule["ports"] = "0"
        return rule


class InboundRule(_Rule):
    sources: Targets


class OutboundRule(_Rule):
    destinations: Targets


class NewFirewall(BaseModel):
    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9.-]*$", max_length=255)
    inbound_rules: list[InboundRule] | None = None
    outbound_rules: list[OutboundRule] | None = None
    droplet_ids: list[int] | None = None
    tags: list[str] | None = None


class Rules(BaseModel):
    inbound_rules: list[InboundRule] | None = None
    outbound_rules: list[OutboundRule] | None = None


class Droplets(BaseModel):
    droplet_ids: list[int]


class Tags(BaseModel):
    tags: list[str]


def _firewall(data: Data, id: str) -> dict[str, Any]:
    if id not in data["firewalls"]:
        raise not_found()
    return data["firewalls"][id]


def _known_droplets(data: Data, ids: list[int]) -> None:
    for id in ids:
        if str(id) not in data["droplets"]:
            raise unprocessable(f"droplet {id} does not exist")


def _known_tags(data: Data, tags: list[str]) -> None:
    for tag in tags:
        if tag.lower() not in data["tags"]:
            raise unprocessable(f"tag {tag} does not exist")


def _content(data: Data, body: NewFirewall, id: str | None = None) -> dict[str, Any]:
    """The firewall's changeable part, checked."""
    if any(f["name"] == body.name and f["id"] != id for f in data["firewalls"].values()):
        raise ApiError(409, "duplicate name")
    if not (body.inbound_rules or body.outbound_rules):
        raise unprocessable("must have at least one rule")
    _known_droplets(data, body.droplet_ids or [])
    _known_tags(data, body.tags or [])
    targets = [rule.sources for rule in body.inbound_rules or []]
    targets += [rule.destinations for rule in body.outbound_rules or []]
    for target in targets:
        _known_tags(data, target.tags or [])
    return {
        "name": body.name,
        "inbound_rules": [rule.stored() for rule in body.inbound_rules or []],
        "outbound_rules": [rule.stored() for rule in body.outbound_rules or []],
        "droplet_ids": list(dict.fromkeys(body.droplet_ids or [])),
        "tags": list(dict.fromkeys(body.tags or [])),
    }


def _enforced(cloud: Cloud) -> Response:
    cloud.apply_firewalls()
    return Response(status_code=204)


@router.get("")
def list_firewalls(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("firewalls", list(data["firewalls"].values()))


@router.post("", status_code=202)
def create_firewall(cloud: Here, body: NewFirewall) -> dict[str, Any]:
    with cloud.store.change() as data:
        content, id = _content(data, body), str(uuid.uuid4())
        firewall = {"id": id, "status": "succeeded", "created_at": now(), "pending_changes": [], **content}
        data["firewalls"][id] = firewall
    cloud.apply_firewalls()
    return {"firewall": firewall}


@router.get("/{id}")
def get_firewall(cloud: Here, id: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"firewall": _firewall(data, id)}


@router.put("/{id}")
def replace_firewall(cloud: Here, id: str, body: NewFirewall) -> dict[str, Any]:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        firewall.update(_content(data, body, id))
    cloud.apply_firewalls()
    return {"firewall": firewall}


@router.delete("/{id}", status_code=204)
def delete_firewall(cloud: Here, id: str) -> Response:
    with cloud.store.change() as data:
        _firewall(data, id)
        del data["firewalls"][id]
    return _enforced(cloud)


def _add(items: list[Any], new: list[Any]) -> list[Any]:
    return [*items, *(item for item in new if item not in items)]


def _without(items: list[Any], old: list[Any]) -> list[Any]:
    return [item for item in items if item not in old]


@router.post("/{id}/droplets", status_code=204)
def add_droplets(cloud: Here, id: str, body: Droplets) -> Response:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        _known_droplets(data, body.droplet_ids)
        firewall["droplet_ids"] = _add(firewall["droplet_ids"], body.droplet_ids)
    return _enforced(cloud)


@router.delete("/{id}/droplets", status_code=204)
def remove_droplets(cloud: Here, id: str, body: Droplets) -> Response:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        firewall["droplet_ids"] = _without(firewall["droplet_ids"], body.droplet_ids)
    return _enforced(cloud)


@router.post("/{id}/tags", status_code=204)
def add_tags(cloud: Here, id: str, body: Tags) -> Response:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        _known_tags(data, body.tags)
        firewall["tags"] = _add(firewall["tags"], body.tags)
    return _enforced(cloud)


@router.delete("/{id}/tags", status_code=204)
def remove_tags(cloud: Here, id: str, body: Tags) -> Response:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        firewall["tags"] = _without(firewall["tags"], body.tags)
    return _enforced(cloud)


@router.post("/{id}/rules", status_code=204)
def add_rules(cloud: Here, id: str, body: Rules) -> Response:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        for side in ("inbound_rules", "outbound_rules"):
            firewall[side] = _add(firewall[side], [rule.stored() for rule in getattr(body, side) or []])
    return _enforced(cloud)


@router.delete("/{id}/rules", status_code=204)
def remove_rules(cloud: Here, id: str, body: Rules) -> Response:
    with cloud.store.change() as data:
        firewall = _firewall(data, id)
        for side in ("inbound_rules", "outbound_rules"):
            firewall[side] = _without(firewall[side], [rule.stored() for rule in getattr(body, side) or []])
    return _enforced(cloud)
