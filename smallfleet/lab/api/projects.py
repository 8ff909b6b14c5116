"""Projects: groups with names unique in the account. Resources are not assigned to them here."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.errors import ApiError, not_found
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data, now

router = APIRouter(prefix="/projects")

Environment = Literal["Development", "Staging", "Production"]


class NewProject(BaseModel):
    name: str = Field(min_length=1, max_length=175)
    purpose: str = Field(min_length=1, max_length=255)
    description: str = Field(default="", max_length=255)
    environment: Environment | None = None


class ProjectChange(BaseModel):
    name: str | None = Field(default=None, min_length=1, max_length=175)
    purpose: str | None = Field(default=None, max_length=255)
    description: str | None = Field(default=None, max_length=255)
    environment: Environment | None = None


def _project(data: Data, id: str) -> dict[str, Any]:
    if id not in data["projects"]:
        raise not_found()
    return data["projects"][id]


def _check_name(data: Data, name: str, own: str | None = None) -> None:
    if any(p["name"] == name and p["id"] != own for p in data["projects"].values()):
        raise ApiError(409, "name is already in use")


@router.get("")
def list_projects(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("projects", list(data["projects"].values()))


@router.post("", status_code=201)
def create_project(cloud: Here, body: NewProject) -> dict[str, Any]:
    with cloud.store.change() as data:
        _check_name(data, body.name)
        id = str(uuid.uuid4())
        times = {"created_at": now(), "updated_at": now()}
        data["projects"][id] = {
            "id": id,
            "owner_uuid": data["uuid"],
            "owner_id": 1,
            "is_default": False,
            **body.model_dump(),
            **times,
        }
        return {"project": data["projects"][id]}


@router.get("/{id}")
def get_project(cloud: Here, id: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"project": _project(data, id)}


@router.patch("/{id}")
def change_project(cloud: Here, id: str, body: ProjectChange) -> dict[str, Any]:
    with cloud.store.change() as data:
        project = _project(data, id)
        if body.name is not None:
            _check_name(data, body.name, id)
        project.update(body.model_dump(exclude_none=True), updated_at=now())
        return {"project": project}


@router.delete("/{id}", status_code=204)
def delete_project(cloud: Here, id: str) -> Response:
    with cloud.store.change() as data:
        del data["projects"][_project(data, id)["id"]]
    return Response(status_code=204)
