"""Domains and their records: each change is being served when the answer comes."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.errors import not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.resolve import NAME_IN_DATA, RECORD_TYPES
from smallfleet.lab.api.store import Data, next_id

router = APIRouter(prefix="/domains")

LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
NAMESERVERS = ("ns1.digitalocean.com.", "ns2.digitalocean.com.", "ns3.digitalocean.com.")


class NewDomain(BaseModel):
    name: str
    ip_address: str | None = None


class NewRecord(BaseModel):
    type: str
    name: str = "@"
    data: str
    priority: int | None = Field(default=None, ge=0, le=65535)
    port: int | None = Field(default=None, ge=0, le=65535)
    weight: int | None = Field(default=None, ge=0, le=65535)
    ttl: int | None = Field(default=None, ge=30)
    flags: int | None = Field(default=None, ge=0, le=255)
    tag: str | None = None


class RecordChange(BaseModel):
    type: str | None = None
    name: str | None = None
    data: str | None = None
    priority: int | None = None
    port: int | None = None
    weight: int | None = None
    ttl: int | None = None
    flags: int | None = None
    tag: str | None = None


def _domain(data: Data, name: str) -> dict[str, Any]:
    if name.lower() not in data["domains"]:
        raise not_found()
    return data["domains"][name.lower()]


def _record(data: Data, domain: str, id: int) -> dict[str, Any]:
    records = _domain(data, domain)["records"]
    if str(id) not in records:
        raise not_found()
    return records[str(id)]


def _view(domain: dict[str, Any]) -> dict[str, Any]:
    """The domain with its zone file."""
    lines = [f"$ORIGIN {domain['name']}.", f"$TTL {domain['ttl']}"]
    for record in domain["records"].values():
        numbers = [
            str(record[k]) for k in ("priority", "weight", "port", "flags", "tag") if record[k] is not None
        ]
        owner = record["name"] if record["name"] == "@" else f"{record['name']}.{domain['name']}."
        lines.append(" ".join([owner, str(record["ttl"]), "IN", record["type"], *numbers, record["data"]]))
    return {"name": domain["name"], "ttl": domain["ttl"], "zone_file": "\n".join(lines) + "\n"}


def _checked(domain: dict[str, Any], body: NewRecord, own: int | None = None) -> dict[str, Any]:
    """The record's content as it is stored; 422 where DigitalOcean refuses it."""
    type = body.type.upper()
    if type not in RECORD_TYPES:
        raise unprocessable("Type is not included in the list")
    name = body.name.lower().rstrip(".").removesuffix(f".{domain['name']}")
    if name in ("", domain["name"]):
        name = "@"
    if name != "@" and not re.fullmatch(rf"(\*\.)?({LABEL}\.)*{LABEL}|\*", name):
        raise unprocessable("Name Only valid hostname characters are allowed. (a-z, A-Z, 0-9, ., _ and -)")
    text = body.data.strip()
    try:
        if type == "A":
            ipaddress.IPv4Address(text)
        elif type == "AAAA":
            ipaddress.IPv6Address(text)
    except ValueError:
        raise unprocessable(f"IP address did not match IPv{4 if type == 'A' else 6} format") from None
    if type in NAME_IN_DATA and text != "@" and not text.endswith("."):
        raise unprocessable("Data needs to end with a dot (.)")
    required = {"MX": ("priority",), "SRV": ("priority", "port", "weight"), "CAA": ("flags", "tag")}
    for key in required.get(type, ()):
        if getattr(body, key) is None:
            raise unprocessable(f"{key.title()} can't be blank")
    for other in domain["records"].values():
        if other["name"] == name and other["id"] != own and "CNAME" in (type, other["type"]):
            raise unprocessable("CNAME records cannot share a name with other records")
    content = body.model_dump(include={"priority", "port", "weight", "flags", "tag"})
    return {"type": type, "name": name, "data": text, "ttl": body.ttl or domain["ttl"], **content}


def _add(data: Data, domain: dict[str, Any], body: NewRecord) -> dict[str, Any]:
    content = _checked(domain, body)
    record = {"id": next_id(data), **content}
    domain["records"][str(record["id"])] = record
    return record


@router.get("")
def list_domains(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("domains", [_view(domain) for domain in data["domains"].values()])


@router.post("", status_code=201)
def create_domain(cloud: Here, body: NewDomain) -> dict[str, Any]:
    name = body.name.lower().rstrip(".")
    if not re.fullmatch(rf"({LABEL}\.)+{LABEL}", name):
        raise unprocessable(f"domain '{name}': is not a valid domain name")
    with cloud.store.change() as data:
        if name in data["domains"]:
            raise unprocessable(f"domain '{name}': name already exists")
        domain: dict[str, Any] = {"name": name, "ttl": 1800, "records": {}}
        for nameserver in NAMESERVERS:
            _add(data, domain, NewRecord(type="NS", data=nameserver))
        if body.ip_address:
            _add(data, domain, NewRecord(type="A", data=body.ip_address))
        data["domains"][name] = domain
    cloud.publish_dns()
    # As DigitalOcean answers: ttl and zone file come with the next GET.
    return {"domain": {"name": name, "ttl": 1800, "zone_file": None}}


@router.get("/{name}")
def get_domain(cloud: Here, name: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"domain": _view(_domain(data, name))}


@router.delete("/{name}", status_code=204)
def delete_domain(cloud: Here, name: str) -> Response:
    with cloud.store.change() as data:
        del data["domains"][_domain(data, name)["name"]]
    cloud.publish_dns()
    return Response(status_code=204)


@router.get("/{domain}/records")
def list_records(
    cloud: Here, page: Paged, domain: str, name: str | None = None, type: str | None = None
) -> dict[str, Any]:
    """All records; `name` filters by full name, `type` by type."""
    with cloud.store.read() as data:
        found = _domain(data, domain)
        records = [
            record
            for record in found["records"].values()
            if (type is None or record["type"] == type.upper())
            and (name is None or name.lower() == f"{record['name']}.{found['name']}".removeprefix("@."))
        ]
        return page.of("domain_records", records)


@router.post("/{domain}/records", status_code=201)
def create_record(cloud: Here, domain: str, body: NewRecord) -> dict[str, Any]:
    with cloud.store.change() as data:
        record = _add(data, _domain(data, domain), body)
    cloud.publish_dns()
    return {"domain_record": record}


@router.get("/{domain}/records/{id}")
def get_record(cloud: Here, domain: str, id: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"domain_record": _record(data, domain, id)}


@router.put("/{domain}/records/{id}")
@router.patch("/{domain}/records/{id}")
def change_record(cloud: Here, domain: str, id: int, body: RecordChange) -> dict[str, Any]:
    with cloud.store.change() as data:
        record = _record(data, domain, id)
        wanted = NewRecord.model_validate({**record, **body.model_dump(exclude_none=True)})
        record.update(_checked(_domain(data, domain), wanted, id))
    cloud.publish_dns()
    return {"domain_record": record}


@router.delete("/{domain}/records/{id}", status_code=204)
def delete_record(cloud: Here, domain: str, id: int) -> Response:
    with cloud.store.change() as data:
        _record(data, domain, id)
        del _domain(data, domain)["records"][str(id)]
    cloud.publish_dns()
    return Response(status_code=204)
