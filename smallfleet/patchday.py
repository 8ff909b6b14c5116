"""A patch day: in what order, what for, and how long who will be away.

The order: droplets that nothing else needs go first, one after the other; what others need (by the roles'
`needs:`) goes after those that need it. So an update that breaks something breaks one site, not the database
of all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from gevent.lock import RLock
from pyinfra.context import ctx_host
from rich.console import Console
from rich.table import Table

from smallfleet.errors import FleetError
from smallfleet.facts.patch import Patch
from smallfleet.model.fleet import Fleet
from smallfleet.model.roles import AppRole, MongodbRole
from smallfleet.operations import mongodb

STOPPING = 4.0  # seconds that a droplet takes to stop and its firmware to begin, besides the last boot's time
RESTARTING = 1.0  # seconds that a service is away when it is restarted
# The service that other droplets' sites wait for, by the kind of its role.
SERVICES = {"mongodb": "mongod.service"}


def needed_by(fleet: Fleet, droplet: str) -> list[AppRole]:
    """The sites anywhere in the fleet that need a service of `droplet`."""
    serving = {name for name in fleet.roles_of(droplet) if fleet.roles[name].kind in SERVICES}
    return [app for app in fleet.apps if serving & {*app.needs, *app.on}]


def in_set(fleet: Fleet, droplet: str) -> bool:
    """Whether `droplet` is one of several members of a replica set, and the others can do its work."""
    roles = [fleet.roles[name] for name in fleet.roles_of(droplet)]
    return any(isinstance(role, MongodbRole) and role.members > 1 for role in roles)


def primary_last(turns: list[str], primary: str | None) -> list[str]:
    """The turns with the set's primary after the other members: it steps down once."""
    return [turn for turn in turns if turn != primary] + [turn for turn in turns if turn == primary]


def order(fleet: Fleet, only: Collection[str] = ()) -> list[str]:
    """The droplets in the order they are patched. `only`: droplets or roles; all, if empty."""
    for word in only:
        if word not in fleet.roles and word not in [droplet.name for droplet in fleet.droplets]:
            raise FleetError(f"{word} is neither a droplet nor a role of the fleet {fleet.name}")
    chosen = [
        droplet.name
        for droplet in fleet.droplets
        if not only or droplet.name in only or not set(only).isdisjoint(fleet.roles_of(droplet))
    ]
    return sorted(chosen, key=lambda name: len(needed_by(fleet, name)) > 0)  # stable: the inventory's order


def sites_of(fleet: Fleet, droplet: str) -> list[AppRole]:
    """The sites on `droplet` that have an app."""
    return [app for app in fleet.apps if app.app and app.name in fleet.roles_of(droplet)]


def answered_by(fleet: Fleet, droplet: str) -> list[AppRole]:
    """The sites with an app that visitors reach through `droplet`'s NGINX: its own, and an edge's."""
    return sites_of(fleet, droplet) + [app for app in fleet.fronted_by(droplet) if app.app]


def edge_for(fleet: Fleet, droplet: str) -> str | None:
    """The edge that sends the requests of `droplet`'s sites to other droplets while it is away, if it can."""
    for app in fleet.apps:
        front = fleet.front_of(app)
        if front and app.name in fleet.roles_of(droplet) and len(fleet.droplets_of(app.name)) > 1:
            return front.name
    return None


def balanced(fleet: Fleet, droplet: str) -> bool:
    """Whether a load balancer sends the requests of `droplet`'s sites to other droplets while it is away."""
    here = [app for app in fleet.apps if app.name in fleet.roles_of(droplet)]
    return any(fleet.balancer_of(app) and len(fleet.droplets_of(app.name)) > 1 for app in here)


def waiting(fleet: Fleet, turn: str, droplet: str) -> list[str]:
    """The sites on `droplet` that are put into maintenance while `turn` is away."""
    if in_set(fleet, turn):
        return []
    return [app.name for app in sites_of(fleet, droplet) if app in needed_by(fleet, turn)]


def services_of(fleet: Fleet, droplet: str) -> list[str]:
    """The services of `droplet` that sites elsewhere wait for."""
    kinds = [fleet.roles[name].kind for name in fleet.roles_of(droplet)]
    return [SERVICES[kind] for kind in kinds if kind in SERVICES]


def interrupts(fleet: Fleet, droplet: str, patch: Patch, then: bool = False) -> bool:
    """Whether what `droplet` needs takes away a service that sites wait for. `then`: once it is updated."""
    reboot, restart = ("then_reboot", "then_restart") if then else ("reboot", "restart")
    services = services_of(fleet, droplet)
    return bool(services and (patch[reboot] or set(services) & set(patch[restart])))  # type: ignore[literal-required]


def away(fleet: Fleet, droplet: str, patch: Patch) -> float:
    """Seconds that `droplet`, or its service, is expected to be away; 0 if it is not."""
    if patch["then_reboot"]:
        return STOPPING + patch["boot"]
    return RESTARTING if patch["then_restart"] else 0.0


def primary_of(state: Any, members: Sequence[str]) -> str | None:
    """The droplet of the set's primary, if it is among `members`; `FleetError` if a member is not well."""
    primary = None
    for name in members:
        member = state.inventory.get_host(name)
        with ctx_host.use(member):
            found = mongodb.set_state()
        if found["problems"]:
            raise FleetError(
                f"Nothing was begun: MongoDB's set is not whole, as {name} sees it: "
                f"{'; '.join(found['problems'])}. Without a member the next reboot could leave no majority. "
                "Mend it first: by deploys/site.py, or by what /var/log/mongodb/mongod.log says there."
            )
        primary = name if found["state"] == "PRIMARY" else primary
    return primary


@dataclass
class Day:
    """What all hosts of one run of deploys/patch.py share."""

    fleet: Fleet
    turns: list[str]
    plans: dict[str, Patch] = field(default_factory=dict)
    found: dict[str, Patch] = field(default_factory=dict)  # after the updates, before the reboot
    shown: bool = False
    settling: RLock = field(default_factory=RLock)
    settled: bool = False

    def settle(self, state: Any) -> None:
        """Ask MongoDB's set, if members have a turn: the primary goes last, and `FleetError` unless all are
        well. Every host comes here before its first turn; the first one asks, the others wait for it."""
        with self.settling:
            members = [name for name in self.turns if in_set(self.fleet, name)]
            if members and not self.settled:
                self.turns = primary_last(self.turns, primary_of(state, members))
            self.settled = True

    def report(self, name: str, patch: Patch, expected: Collection[str]) -> None:
        """Note what a host found; the last one of `expected` shows the plan of all."""
        self.plans[name] = patch
        if not self.shown and self.plans.keys() >= set(expected):
            self.shown = True
            show(self.fleet, self.turns, self.plans)

    def interrupts(self, turn: str) -> bool:
        """Whether what `turn` was found to need, once it was updated, takes away what sites wait for."""
        return turn in self.found and interrupts(self.fleet, turn, self.found[turn])

    def touches(self, turn: str) -> bool:
        """Whether anything is to be done to `turn`."""
        plan = self.plans[turn]
        return bool(plan["pending"] or plan["reboot"] or plan["restart"])

    def after(self, turn: str) -> str | None:
        """The droplet whose turn is next."""
        position = self.turns.index(turn) + 1
        return self.turns[position] if position < len(self.turns) else None

    def missing(self, connected: Collection[str]) -> list[str]:
        """Droplets without which nothing may begin: those with a turn, those whose sites wait, their edge."""
        wanted = set(self.turns)
        for turn in self.turns:
            wanted |= {other.name for other in self.fleet.droplets if waiting(self.fleet, turn, other.name)}
            wanted |= {edge} if (edge := edge_for(self.fleet, turn)) else set()
        return sorted(wanted - set(connected))


_days: WeakKeyDictionary[Any, Day] = WeakKeyDictionary()


def day_of(state: Any, fleet: Fleet, only: Collection[str]) -> Day:
    """The day that all hosts of pyinfra's `state` share."""
    if state not in _days:
        _days[state] = Day(fleet, order(fleet, only))
    return _days[state]


# ---- the plan, as it is shown


def need_of(patch: Patch) -> str:
    if patch["then_reboot"]:
        return "reboot"
    if patch["then_restart"]:
        return f"restart {', '.join(unit.removesuffix('.service') for unit in patch['then_restart'])}"
    return "nothing"


def goes_on_elsewhere(fleet: Fleet, app: AppRole, droplet: str) -> bool:
    """Whether the site's requests are sent to its other droplets while `droplet` is away."""
    front = fleet.front_of(app) or fleet.balancer_of(app)
    return front is not None and front.name != droplet and len(fleet.droplets_of(app.name)) > 1


def effect_of(fleet: Fleet, droplet: str, patch: Patch) -> str:
    """What visitors will notice, in words."""
    seconds = away(fleet, droplet, patch)
    if not seconds:
        return "nothing"
    here = [app.name for app in answered_by(fleet, droplet) if not goes_on_elsewhere(fleet, app, droplet)]
    if not in_set(fleet, droplet) and interrupts(fleet, droplet, patch, then=True):
        names = [app.name for app in needed_by(fleet, droplet)]
        return f"maintenance of {', '.join(names)}: about {seconds + 2:.0f} s"
    if not here:
        return "nothing"
    return f"{', '.join(here)} away: about {seconds:.0f} s"


def packages(plans: Mapping[str, Patch]) -> list[tuple[str, str, str, list[str]]]:
    """Each pending update once: name, version, source, the droplets it is for."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for droplet, patch in plans.items():
        for update in patch["pending"]:
            key = (update["name"], update["to"], ", ".join(update["sources"]))
            found.setdefault(key, []).append(droplet)
    return [(*key, droplets) for key, droplets in sorted(found.items())]


def show(fleet: Fleet, turns: Sequence[str], plans: Mapping[str, Patch]) -> None:
    """Print the plan to stderr: the droplets in their order, then the updates with their sources."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 140
    table = Table("turn", "droplet", "updates", "security", "then it needs", "visitors notice")
    there = [turn for turn in turns if turn in plans]
    for number, droplet in enumerate(there, start=1):
        patch = plans[droplet]
        table.add_row(
            str(number),
            droplet,
            str(len(patch["pending"])),
            str(sum(update["security"] for update in patch["pending"])),
            need_of(patch),
            effect_of(fleet, droplet, patch),
        )
    console.print(table)
    listed = Table("update", "version", "from", "droplets")
    for name, version, source, droplets in packages({droplet: plans[droplet] for droplet in there}):
        listed.add_row(name, version, source, "all" if len(droplets) == len(there) else ", ".join(droplets))
    if listed.row_count:
        console.print(listed)
    for droplet in there:
        if reasons := plans[droplet]["then_reboot"]:
            console.print(f"{droplet} reboots: {'; '.join(reasons)}", markup=False)
