"""Whether the fleet is still as a saved plan saw it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from smallfleet.errors import FleetError
from smallfleet.plan.model import VERSION, Operation, Plan


def load(path: Path) -> Plan:
    """The plan that `fleet plan --format json` saved in `path`; `FleetError` where it is none."""
    try:
        return Plan.model_validate_json(path.read_text())
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise FleetError(
            f"{path} is no plan that this version reads (version {VERSION}): {where}: {first['msg']}.\n"
            "Make it anew: fleet plan INVENTORY DEPLOY --format json --out PLAN.json"
        ) from None


def moved(saved: Plan, now: Plan) -> Iterator[str]:
    """What differs between a saved plan and the same one made now, in words."""
    if saved.cloud != now.cloud:
        for field in type(saved.cloud).model_fields:
            if getattr(saved.cloud, field) != getattr(now.cloud, field):
                yield f"the cloud: {field.replace('_', ' ')}"
    before = {droplet.name: droplet for droplet in saved.droplets}
    after = {droplet.name: droplet for droplet in now.droplets}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{name}: it cannot be planned now"
            continue
        if name not in before:
            yield f"{name}: it was not in the plan"
            continue
        old, new = _by_name(before[name].operations), _by_name(after[name].operations)
        if before[name].exists != after[name].exists:
            yield f"{name}: it {'exists now' if after[name].exists else 'is gone'}"
        for operation in [*old, *(other for other in new if other not in old)]:
            if operation not in new:
                yield f"{name}: no longer to do: {operation[0]}"
            elif operation not in old:
                yield f"{name}: new: {operation[0]}"
            elif old[operation] != new[operation]:
                yield f"{name}: different now: {operation[0]}"
    for error in now.errors:
        yield f"{error.droplet}: {error.reason}"


def _by_name(operations: list[Operation]) -> dict[tuple[str, int], Operation]:
    """By name, and by number among those of that name: a deploy has one for each app of a droplet."""
    found: dict[tuple[str, int], Operation] = {}
    for operation in operations:
        number = sum(name == operation.name for name, _ in found)
        found[operation.name, number] = operation
    return found
