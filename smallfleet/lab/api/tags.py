"""Tags, and the droplets and images that carry them."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.errors import not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data

router = APIRouter(prefix="/tags")

KINDS = {"droplet": "droplets", "image": "images", "volume_snapshot": "images"}


class NewTag(BaseModel):
    name: str


class Resource(BaseModel):
    resource_id: str | int
    resource_type: str


class Resources(BaseModel):
    resources: list[Resource]


def add_tags(data: Data, names: list[str]) -> list[str]:
    """Make the tags that are missing; the names as they are stored, each once. 422 for a bad name."""
    for name in names:
        if not re.fullmatch(r"[a-zA-Z0-9_:\-]{1,255}", name):
            raise unprocessable(
                "invalid tag name: only letters, numbers, colons, dashes and underscores are allowed"
            )
    for name in names:
        data["tags"].setdefault(name.lower(), {"name": name})
    return list(dict.fromkeys(data["tags"][name.lower()]["name"] for name in names))


def _view(data: Data, tag: dict[str, Any], base: str) -> dict[str, Any]:
    resources: dict[str, Any] = {"count": 0}
    for kind in ("droplets", "images"):
        tagged = [thing["id"] for thing in data[kind].values() if tag["name"] in thing["tags"]]
        resources[kind] = {"count": len(tagged)}
        if tagged:
            resources[kind]["last_tagged_uri"] = f"{base}v2/{kind}/{tagged[-1]}"
        resources["count"] += len(tagged)
    return {"name": tag["name"], "resources": resources}


def _tag(data: Data, name: str) -> dict[str, Any]:
    if name.lower() not in data["tags"]:
        raise not_found()
    return data["tags"][name.lower()]


@router.get("")
def list_tags(cloud: Here, page: Paged, request: Request) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("tags", [_view(data, tag, str(request.base_url)) for tag in data["tags"].values()])


@router.post("", status_code=201)
def create_tag(cloud: Here, body: NewTag, request: Request) -> dict[str, Any]:
    with cloud.store.change() as data:
        add_tags(data, [body.name])
        return {"tag": _view(data, _tag(data, body.name), str(request.base_url))}


@router.get("/{name}")
def get_tag(cloud: Here, name: str, request: Request) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"tag": _view(data, _tag(data, name), str(request.base_url))}


@router.delete("/{name}", status_code=204)
def delete_tag(cloud: Here, name: str) -> Response:
    with cloud.store.change() as data:
        tag = _tag(data, name)["name"]
        del data["tags"][name.lower()]
        for kind in ("droplets", "images", "firewalls"):
            for thing in data[kind].values():
                thing["tags"] = [other for other in thing["tags"] if other != tag]
    cloud.apply_firewalls()
    return Response(status_code=204)


def _tagged(data: Data, body: Resources) -> list[dict[str, Any]]:
    """The things meant; 404 if one of them does not exist."""
    found = []
    for resource in body.resources:
        kind = KINDS.get(resource.resource_type)
        if kind is None:
            raise unprocessable(f"the lab cannot tag a {resource.resource_type}")
        if str(resource.resource_id) not in data[kind]:
            raise not_found()
        found.append(data[kind][str(resource.resource_id)])
    return found


@router.post("/{name}/resources", status_code=204)
def tag_resources(cloud: Here, name: str, body: Resources) -> Response:
    with cloud.store.change() as data:
        tag = _tag(data, name)["name"]
        for thing in _tagged(data, body):
            if tag not in thing["tags"]:
                thing["tags"].append(tag)
    cloud.apply_firewalls()
    return Response(status_code=204)


@router.delete("/{name}/resources", status_code=204)
def untag_resources(cloud: Here, name: str, body: Resources) -> Response:
    with cloud.store.change() as data:
        tag = _tag(data, name)["name"]
        for thing in _tagged(data, body):
            thing["tags"] = [other for other in thing["tags"] if other != tag]
    cloud.apply_firewalls()
    return Response(status_code=204)
