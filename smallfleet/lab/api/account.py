"""Account, regions and sizes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.descriptor import droplet_limit

router = APIRouter()


@router.get("/account")
def get_account(cloud: Here) -> dict[str, Any]:
    with cloud.store.read() as data:
        uuid = data["uuid"]
    account = {
        "droplet_limit": droplet_limit(),
        "floating_ip_limit": 5,
        "reserved_ip_limit": 5,
        "volume_limit": 10,
        "email": "owner@example.com",
        "name": "Lab",
        "uuid": uuid,
        "email_verified": True,
        "status": "active",
        "status_message": "",
        "team": {"uuid": uuid, "name": "Lab"},
    }
    return {"account": account}


@router.get("/regions")
def list_regions(page: Paged) -> dict[str, Any]:
    return page.of("regions", catalogue.regions())


@router.get("/sizes")
def list_sizes(page: Paged) -> dict[str, Any]:
    return page.of("sizes", catalogue.sizes())
