"""A plan's data, from what was found out while it was made."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from smallfleet.plan import model
from smallfleet.plan.account import cloud_part
from smallfleet.plan.answers import lines_of
from smallfleet.plan.blast import blast_radius
from smallfleet.plan.dry import DryHost, Predicted
from smallfleet.plan.effects import Write
from smallfleet.plan.make import Prepared, Progress, prepare, quiet
from smallfleet.plan.redact import Redactor

LONGEST = 400  # lines of a diff


def make_plan(
    inventory: Path, deploy: Path, limit: Sequence[str] = (), progress: Progress = quiet
) -> model.Plan:
    """Plan `deploy` on the droplets of `inventory`; see `prepare`."""
    return assemble(prepare(inventory, deploy, limit, progress), inventory, deploy, limit)


def assemble(prepared: Prepared, inventory: Path, deploy: Path, limit: Sequence[str]) -> model.Plan:
    redactor = Redactor.of(prepared.fleet)
    account = prepared.run.account
    cloud = cloud_part(prepared.fleet, *account) if account else model.Cloud()
    droplets = [
        _droplet(host, prepared, redactor)
        for host in prepared.hosts
        if host in prepared.state.activated_hosts
    ]
    errors = [
        model.Error(droplet=host.name, reason=redactor.clean(prepared.errors[host.name]))
        for host in prepared.hosts
        if host.name in prepared.errors
    ]
    return model.Plan(
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        fleet=prepared.fleet.name,
        inventory=str(inventory),
        deploy=str(deploy),
        limit=list(limit),
        summary=model.Summary(
            droplets=sum(bool(droplet.operations) or not droplet.exists for droplet in droplets),
            operations=sum(len(droplet.operations) for droplet in droplets),
            cloud=len(cloud.droplets) + len(cloud.firewall) + len(cloud.records) + len(cloud.others),
            errors=len(errors),
        ),
        cloud=cloud,
        droplets=droplets,
        blast_radius=blast_radius(prepared.fleet, droplets, cloud),
        errors=errors,
    )


def _droplet(host: DryHost, prepared: Prepared, redactor: Redactor) -> model.Droplet:
    predicted = prepared.state.predicted.get(host.name, [])
    return model.Droplet(
        name=host.name,
        roles=prepared.fleet.roles_of(host.name),
        exists=not getattr(host.connector, "missing", False),
        operations=[_operation(one, prepared, redactor) for one in predicted],
    )


def _operation(one: Predicted, prepared: Prepared, redactor: Redactor) -> model.Operation:
    name = prepared.state.op_name
    return model.Operation(
        name=redactor.clean(name(one.hash)),
        diffs=[diff for write in one.change.writes if (diff := _diff(write, redactor))],
        effects=[
            model.Effect(action=action, target=redactor.clean(target))
            for action, target in one.change.effects
        ],
        because=[redactor.clean(name(cause)) for cause in one.because],
    )


def _diff(write: Write, redactor: Redactor) -> model.Diff | None:
    old, new = write.old, lines_of(write.node)
    if write.node.kind == "absent" and old is None:
        return None
    action: Literal["create", "change", "remove"]
    action = "remove" if write.node.kind == "absent" else "change" if old is not None else "create"
    if write.hidden:
        return model.Diff(path=write.path, action="change", hidden=True)
    lines = list(
        difflib.unified_diff(old or [], new or [], f"a{write.path}", f"b{write.path}", lineterm="", n=3)
    )
    text = "\n".join(lines[:LONGEST])
    if len(lines) > LONGEST:
        text += f"\n… {len(lines) - LONGEST} more lines"
    if redactor.holds(text):
        return model.Diff(path=write.path, action=action, hidden=True)
    return model.Diff(path=write.path, action=action, text=text)
