"""What can be done to a droplet: power, snapshot, rebuild, rename, resize. Runs in the background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from smallfleet.lab.api import catalogue
from smallfleet.lab.api.actions import actions_of, get_one
from smallfleet.lab.api.cloud import Cloud, Here, idle
from smallfleet.lab.api.droplets import valid_name
from smallfleet.lab.api.errors import unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data, next_id, now
from smallfleet.lab.api.views import action_view

router = APIRouter(prefix="/droplets")

Type = Literal[
    "power_on",
    "power_off",
    "power_cycle",
    "shutdown",
    "reboot",
    "snapshot",
    "rebuild",
    "restore",
    "rename",
    "resize",
]
Work = tuple[Callable[[], Any], Callable[[dict[str, Any], Data, Any], None]]

# type: the status that the droplet must have
NEEDS: dict[str, str] = {
    "power_off": "active",
    "power_cycle": "active",
    "shutdown": "active",
    "reboot": "active",
    "resize": "off",
}


class NewAction(BaseModel):
    type: Type
    name: str | None = None  # rename, snapshot
    image: int | str | None = None  # rebuild, restore
    size: str | None = None  # resize


def _plan(cloud: Cloud, data: Data, droplet: dict[str, Any], body: NewAction) -> Work:
    """What to do to the machine, and how the droplet's state is afterwards; all checked."""
    machines, id = cloud.parts.machines, droplet["id"]

    def becomes(**change: Any) -> Callable[[dict[str, Any], Data, Any], None]:
        return lambda droplet, data, result: droplet.update(change)

    match body.type:
        case "power_on":
            return (lambda: None if machines.running(id) else machines.start(id)), becomes(status="active")
        case "power_off":
            return (lambda: machines.power_off(id)), becomes(status="off")
        case "shutdown":
            return (lambda: machines.shutdown(id)), becomes(status="off")
        case "power_cycle":
            return (lambda: machines.power_cycle(id)), becomes(status="active")
        case "reboot":
            return (lambda: machines.reboot(id)), becomes(status="active")
        case "rename":
            return (lambda: None), becomes(name=valid_name(body.name or ""))
        case "resize":
            size = catalogue.size(body.size or "")
            if size["disk"] < catalogue.size(droplet["size"])["disk"]:
                raise unprocessable("This size is not available because it has a smaller disk.")
            return (lambda: machines.resize(id, size["memory"], size["vcpus"])), becomes(size=size["slug"])
        case "rebuild" | "restore":
            image = catalogue.find_image(data, cloud.parts.images, body.image or "")
            if image is None:
                raise unprocessable("You specified an invalid image for Droplet rebuild.")

            def rebuild() -> None:
                machines.rebuild(id, catalogue.machine_image(image))
                # The machine may have been taken off the network and put on again.
                cloud.apply_firewalls(force=True)

            return rebuild, becomes(image=image, status="active")
        case "snapshot":
            return _snapshot(cloud, next_id(data), id, body.name)


def _snapshot(cloud: Cloud, number: int, id: int, name: str | None) -> Work:
    def keep(droplet: dict[str, Any], data: Data, size: float) -> None:
        data["images"][str(number)] = {
            "id": number,
            "name": name or f"{droplet['name']}-{number}",
            "distribution": droplet["image"]["distribution"],
            "slug": None,
            "public": False,
            "regions": [droplet["region"]],
            "created_at": now(),
            "min_disk_size": catalogue.size(droplet["size"])["disk"],
            "size_gigabytes": round(size, 2),
            "type": "snapshot",
            "description": "",
            "tags": [],
            "status": "available",
            "error_message": "",
            "droplet_id": id,
        }

    return (lambda: cloud.parts.machines.snapshot(id, f"snapshot-{number}")), keep


def _check(cloud: Cloud, droplet: dict[str, Any], body: NewAction) -> None:
    idle(droplet)
    if body.type in NEEDS and (status := cloud.status(droplet)) != NEEDS[body.type]:
        if body.type == "resize":
            raise unprocessable("Droplet is currently on. Please power it off to run this event.")
        raise unprocessable(f"Droplet is {status}: it must be powered on to run this event.")


def _begin(cloud: Cloud, ids: list[int], body: NewAction) -> list[dict[str, Any]]:
    """Begin the action on each droplet, or on none if one refuses; the actions as the API gives them."""
    with cloud.store.change() as data:
        droplets = [cloud.droplet(data, id) for id in ids]
        for droplet in droplets:
            _check(cloud, droplet, body)
        plans = [_plan(cloud, data, droplet, body) for droplet in droplets]
        actions = []
        for droplet in droplets:
            droplet["locked"] = True
            actions.append(cloud.action(data, body.type, droplet["id"], "droplet", droplet["region"]))
        views = [action_view(action) for action in actions]
    for id, action, (work, after) in zip(ids, actions, plans, strict=True):
        cloud.run(action, work, _done(id, after))
    return views


def _done(id: int, after: Callable[[dict[str, Any], Data, Any], None]) -> Callable[[Data, Any], None]:
    return lambda data, result: after(data["droplets"][str(id)], data, result)


@router.post("/actions", status_code=201)
def act_on_tag(cloud: Here, body: NewAction, tag_name: Annotated[str, Query()]) -> dict[str, Any]:
    with cloud.store.read() as data:
        ids = [droplet["id"] for droplet in data["droplets"].values() if tag_name in droplet["tags"]]
    return {"actions": _begin(cloud, ids, body)}


@router.post("/{id}/actions", status_code=201)
def act(cloud: Here, id: int, body: NewAction) -> dict[str, Any]:
    return {"action": _begin(cloud, [id], body)[0]}


@router.get("/{id}/actions")
def list_actions(cloud: Here, page: Paged, id: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        cloud.droplet(data, id)
        return page.of("actions", actions_of(data, "droplet", id))


@router.get("/{id}/actions/{action}")
def get_action(cloud: Here, id: int, action: int) -> dict[str, Any]:
    with cloud.store.read() as data:
        cloud.droplet(data, id)
        return get_one(data, action)
