"""One run of pyinfra on one fleet: the account is surveyed, and completed, once."""

from __future__ import annotations

import sys
import threading
from typing import Any
from weakref import WeakKeyDictionary

from rich.console import Console

from smallfleet.cloud import claim
from smallfleet.cloud.client import Client
from smallfleet.cloud.create import carry_out, point, together
from smallfleet.cloud.hostkeys import pin, pinned, wait_for_key
from smallfleet.cloud.plan import Plan, addresses_of, names_now, plan
from smallfleet.cloud.survey import Json, Survey, address, survey
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet
from smallfleet.runs.turn import Turn

MISSING = "0.0.0.0"
_runs: WeakKeyDictionary[Any, dict[str, Run]] = WeakKeyDictionary()


def run_of(state: Any, fleet: Fleet, dry: bool, yes: bool, turn: Turn | None = None) -> Run:
    """The run that all of the fleet's hosts in `state` share. One that changes something has a turn."""
    runs = _runs.setdefault(state, {})
    if fleet.name not in runs:
        runs[fleet.name] = Run(fleet, dry, yes, turn)
    return runs[fleet.name]


class Run:
    """Surveys at the first call, under a lock (pyinfra's command makes threading's locks gevent's)."""

    def __init__(self, fleet: Fleet, dry: bool, yes: bool, turn: Turn | None = None) -> None:
        self.fleet, self.dry, self.yes, self.turn = fleet, dry, yes, turn
        self._lock = threading.Lock()
        self._droplets: dict[str, Json] | None = None
        self._failed: str | None = None
        self._console = Console(stderr=True, highlight=False, markup=False)
        self.account: tuple[Survey, Plan] | None = None  # as it was found, and what is to be made in it

    def address_of(self, name: str, limit: set[str]) -> str | None:
        """The public address, its host key pinned; None if the droplet is missing and the run is dry."""
        with self._lock:
            if self._failed is not None:
                raise FleetError(f"not reached: {self._failed}")
            if self._droplets is None:
                try:
                    self._droplets = self._complete(limit)
                except FleetError as error:
                    self._failed = "the fleet could not be completed (see the first error)"
                    raise error
        droplet = self._droplets.get(name)
        return address(droplet, "public") if droplet else None

    def addresses(self) -> dict[str, dict[str, str]]:
        found = self._droplets or {}
        return {
            droplet.name: {
                kind: address(found.get(droplet.name, {}), kind) or MISSING for kind in ("public", "private")
            }
            for droplet in self.fleet.droplets
        }

    def names(self) -> dict[str, list[str]]:
        """{DNS name of a site: the addresses that it had when the run began}."""
        return names_now(self.fleet, self.account[0]) if self.account else {}

    def moves(self, droplet: str) -> list[str]:
        """The DNS names that are to lead to `droplet`, first of all, once it serves their sites."""
        moves = self.account[1].moves if self.account else {}
        movers = {name: self._mover(targets[0]) for name, targets in moves.items()}
        return [name for name, mover in movers.items() if mover == droplet]

    def _mover(self, target: str) -> str:
        """The droplet whose deploy sees to it that a name leads to `target`, a droplet or load balancer."""
        for balancer in self.fleet.load_balancers:
            if balancer.name == target:
                return self.fleet.droplets_of(balancer.roles[0])[0].name
        return target

    def move(self, name: str) -> None:
        """Have a DNS name lead to where it is to lead."""
        assert self.account is not None
        client = Client(self.fleet.end_point, self.fleet.token())
        known = addresses_of(survey(client, self.fleet))  # what is new has one by now
        wanted = {target: known[target] for target in self.account[1].moves[name]}
        point(client, self.fleet, name, wanted, self._console.print)

    def _complete(self, limit: set[str]) -> dict[str, Json]:
        """The fleet's droplets, after what is missing was shown, agreed to and created."""
        fleet, say = self.fleet, self._console.print
        client = Client(fleet.end_point, fleet.token())
        found = survey(client, fleet)
        todo = plan(fleet, found, limit)
        self.account = found, todo
        if todo.strangers:
            say(f"Not in the inventory, left alone: {', '.join(todo.strangers)}")
        droplets = found.droplets
        if not todo.empty:
            say(todo.table(fleet))
        if self.dry:
            self._pin({n: d for n, d in droplets.items() if n in limit and address(d, "public")})
            return droplets
        unsettled = any(b["status"] == "new" for b in found.balancers.values()) or any(
            d["status"] == "new" or not address(d, "public") for d in droplets.values()
        )
        if not todo.empty:
            self._agree()
        if not todo.empty or unsettled:
            return self._create(client, limit, {droplet.name for droplet in todo.droplets})
        self._pin({name: droplet for name, droplet in droplets.items() if name in limit})
        if self.turn:
            self.turn.start(droplets, lambda: claim.clear(client, fleet))
        return droplets

    def _create(self, client: Client, limit: set[str], agreed: set[str]) -> dict[str, Json]:
        """Complete the fleet, while no other run does. `agreed`: the droplets that may be created."""
        fleet, turn = self.fleet, self.turn
        assert turn is not None  # only a dry run has none
        with turn.claimed(client):
            # What another run did until it let go of the claim is there now.
            found = survey(client, fleet)
            todo = plan(fleet, found, limit)
            if more := {droplet.name for droplet in todo.droplets} - agreed:
                raise FleetError(f"{', '.join(sorted(more))} went away just now: run again")
            turn.take(found.droplets, silent=True)
            droplets = carry_out(client, fleet, found, todo, self._console.print)
            self._pin({name: droplet for name, droplet in droplets.items() if name in limit})
            turn.take(droplets)
        return droplets

    def _agree(self) -> None:
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise FleetError("nobody is there to agree to this: give -y to create it, --dry to see the plan")
        self._console.print("Create this? [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise FleetError("nothing was created")

    def _pin(self, droplets: dict[str, Json]) -> None:
        """Wait for SSH on each droplet that is not pinned yet, and pin what it shows."""
        known = self.fleet.known_hosts
        new = [
            (name, droplet["id"], str(address(droplet, "public")))
            for name, droplet in droplets.items()
            if pinned(known, str(address(droplet, "public")), droplet["id"]) is None
        ]
        keys = together(lambda one: wait_for_key(one[2], one[0]), new, lambda one: one[0])
        for (name, id, where), key in zip(new, keys, strict=True):
            pin(known, where, key, name, id)
            self._console.print(f"{name} answers at {where}, host key pinned")
