"""What a plan touches: sites, units, and what cannot be undone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from smallfleet.model.fleet import Fleet
from smallfleet.model.roles import AppRole
from smallfleet.plan.model import BlastRadius, Cloud, Downtime, Droplet, Operation, Site

ORDER: tuple[Downtime, ...] = ("none", "a reload", "seconds")
Touch = Callable[[AppRole, Downtime, str], None]
STOPS = ("restart", "stop")
FOREVER = {
    "issue": "issues {target}, which counts against the ACME server's limits",
    "install": "installs {target}",
    "remove": "removes {target}, which may take its data along",
    "lock": "locks {target} out",
    "set": "sets the passwords of {target}",
}


def blast_radius(fleet: Fleet, droplets: Iterable[Droplet], cloud: Cloud) -> BlastRadius:
    radius = BlastRadius()
    sites: dict[str, dict[str, Downtime]] = {}  # {app: {why: downtime}}
    homes = {
        app.name: fleet.droplets_of(app.name)[0].name for app in fleet.apps if fleet.droplets_of(app.name)
    }
    new = {droplet.name for droplet in cloud.droplets}

    def touch(app: AppRole, downtime: Downtime, why: str) -> None:
        if homes.get(app.name) in new:
            downtime = "none"  # nobody visits it yet
        reasons = sites.setdefault(app.name, {})
        reasons[why] = max(reasons.get(why, "none"), downtime, key=ORDER.index)

    for record in cloud.records:
        for app in fleet.apps:
            if record.name in (app.domain, *app.aliases):
                touch(app, "none" if not record.now else "seconds", f"{record.name} leads elsewhere")
    for droplet in droplets:
        here = [app for app in fleet.apps if homes.get(app.name) == droplet.name]
        here += [app for app in fleet.fronted_by(droplet.name) if app not in here]
        for operation in droplet.operations:
            _sites_of(operation, droplet, fleet, here, touch)
            for effect in operation.effects:
                where = f"{droplet.name}: {effect.target}"
                if effect.action in STOPS and where not in radius.restarts:
                    radius.restarts.append(where)
                if effect.action == "reload" and where not in radius.reloads:
                    radius.reloads.append(where)
                if effect.action in FOREVER:
                    radius.irreversible.append(
                        f"{droplet.name}: " + FOREVER[effect.action].format(target=effect.target)
                    )
                if effect.action == "release" and (setup := _setup(fleet, effect.target)):
                    radius.irreversible.append(
                        f"{droplet.name}: runs the app's setup ({setup}) on its database"
                    )
    radius.irreversible[:0] = [
        f"creates the droplet {droplet.name}, paid for from then on" for droplet in cloud.droplets
    ]
    for app in fleet.apps:
        if app.name in sites:
            why = sorted(sites[app.name], key=lambda one: -ORDER.index(sites[app.name][one]))
            downtime = sites[app.name][why[0]]
            home = homes[app.name]
            radius.sites.append(
                Site(name=app.name, domain=app.domain, droplet=home, downtime=downtime, why=why)
            )
    return radius


def _setup(fleet: Fleet, app: str) -> str | None:
    role = next((role for role in fleet.apps if role.name == app), None)
    return role.app.setup if role and role.app else None


def _sites_of(
    operation: Operation, droplet: Droplet, fleet: Fleet, here: list[AppRole], touch: Touch
) -> None:
    """Touch the sites that the operation touches, by what it does and by the files that it writes."""
    for effect in operation.effects:
        unit, action = effect.target, effect.action
        downtime: Downtime = "seconds" if action in STOPS else "none"
        why = f"{action} of {unit}"
        if unit == "nginx.service":
            touched = here
            downtime = "a reload" if action == "reload" else downtime
        elif unit == "mongod.service":
            touched = [app for app in fleet.apps if app.mongodb]
            why += f" on {droplet.name}"
        elif action == "release":
            touched = [app for app in here if app.name == unit]
            why = "a new release, switched to when it is healthy"
        else:
            touched = [app for app in here if app.name in _parts(unit)]
        for app in touched:
            touch(app, downtime, why)
    for diff in operation.diffs:
        for app in here:
            if app.name in _parts(diff.path):
                touch(app, "none", diff.path)


def _parts(name: str) -> list[str]:
    """The words of a path or a unit, an app's name among them: podcast@.service, sites/podcast.conf."""
    return re.split(r"[/.@]|-candidate", name)
