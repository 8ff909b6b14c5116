"""Images (distributions and the account's snapshots) and snapshots, two views of the same."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.cloud import Cloud, Here
from smallfleet.lab.api.errors import ApiError, not_found
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data
from smallfleet.lab.api.views import image_view, snapshot_view

router = APIRouter()


class ImageChange(BaseModel):
    name: str | None = None
    description: str | None = None


@router.get("/images")
def list_images(
    cloud: Here,
    page: Paged,
    type: str | None = None,
    private: bool = False,
    tag_name: str | None = None,
) -> dict[str, Any]:
    with cloud.store.read() as data:
        own = [image_view(image) for image in data["images"].values()]
    public = [] if private or tag_name or type == "application" else catalogue.images(cloud.parts.images)
    if type is not None:
        own = []
    if tag_name is not None:
        own = [image for image in own if tag_name in image["tags"]]
    return page.of("images", [*own, *public])


def _image(cloud: Cloud, data: Data, wanted: str) -> dict[str, Any]:
    image = catalogue.find_image(data, cloud.parts.images, wanted)
    if image is None:
        raise not_found()
    return image


def _snapshot(data: Data, id: str) -> dict[str, Any]:
    if id not in data["images"]:
        raise not_found()
    return data["images"][id]


@router.get("/images/{wanted}")
def get_image(cloud: Here, wanted: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"image": image_view(_image(cloud, data, wanted))}


@router.put("/images/{wanted}")
def change_image(cloud: Here, wanted: str, body: ImageChange) -> dict[str, Any]:
    with cloud.store.change() as data:
        image = _image(cloud, data, wanted)
        if image["public"]:
            raise ApiError(403, "You are not authorized to perform this operation")
        image.update(body.model_dump(exclude_none=True))
        return {"image": image_view(image)}


@router.delete("/images/{wanted}", status_code=204)
def delete_image(cloud: Here, wanted: str) -> Response:
    with cloud.store.read() as data:
        image = _image(cloud, data, wanted)
        if image["public"]:
            raise ApiError(403, "You are not authorized to perform this operation")
    return _delete(cloud, str(image["id"]))


@router.get("/snapshots")
def list_snapshots(cloud: Here, page: Paged, resource_type: str | None = None) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("snapshots", _snapshots(data) if resource_type in (None, "droplet") else [])


def _snapshots(data: Data) -> list[dict[str, Any]]:
    return [snapshot_view(image) for image in data["images"].values()]


@router.get("/snapshots/{id}")
def get_snapshot(cloud: Here, id: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"snapshot": snapshot_view(_snapshot(data, id))}


@router.delete("/snapshots/{id}", status_code=204)
def delete_snapshot(cloud: Here, id: str) -> Response:
    return _delete(cloud, id)


def _delete(cloud: Cloud, id: str) -> Response:
    with cloud.store.change() as data:
        image = _snapshot(data, id)
        cloud.parts.machines.delete_snapshot(catalogue.machine_image(image))
        del data["images"][id]
    return Response(status_code=204)
