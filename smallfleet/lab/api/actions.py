"""Actions of the account, newest first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.errors import not_found
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data
from smallfleet.lab.api.views import action_view

router = APIRouter(prefix="/actions")


def actions_of(data: Data, kind: str | None = None, resource: int | None = None) -> list[dict[str, Any]]:
    """The actions of one resource, or all; newest first."""
    return [
        action_view(action)
        for action in reversed(data["actions"].values())
        if kind is None or (action["resource_type"], action["resource_id"]) == (kind, resource)
    ]


def get_one(data: Data, id: int) -> dict[str, Any]:
    if str(id) not in data["actions"]:
        raise not_found()
    return {"action": action_view(data["actions"][str(id)])}


@router.get("")
def list_actions(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("actions", actions_of(data))


@router.get("/{id}")
def get_action(cloud: Here, id: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        return get_one(data, id)
