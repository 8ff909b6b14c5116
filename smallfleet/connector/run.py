"""One run of pyinfra on one fleet: the account is surveyed, and completed, once."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from smallfleet.cloud.droplet import Json, address
from smallfleet.cloud.hostkeys import pin, pinned, wait_for_key
from smallfleet.connector import remembered
from smallfleet.console import say
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet
from smallfleet.runs.turn import Turn

if TYPE_CHECKING:
    from smallfleet.cloud.client import Client
    from smallfleet.cloud.plan import Plan
    from smallfleet.cloud.survey import Survey

MISSING = "0.0.0.0"
_runs: WeakKeyDictionary[Any, dict[str, Run]] = WeakKeyDictionary()


def run_of(
    state: Any, fleet: Fleet, dry: bool, yes: bool, turn: Turn | None = None, needs_account: bool = True
) -> Run:
    """The run that all of the fleet's hosts in `state` share. One that changes something has a turn."""
    runs = _runs.setdefault(state, {})
    if fleet.name not in runs:
        runs[fleet.name] = Run(fleet, dry, yes, turn, needs_account)
    return runs[fleet.name]


class Run:
    """Surveys at the first call, under a lock (pyinfra's command makes threading's locks gevent's)."""

    def __init__(
        self, fleet: Fleet, dry: bool, yes: bool, turn: Turn | None = None, needs_account: bool = True
    ) -> None:
        """`needs_account`: whether the API must be asked in any case, and not only where it has to be."""
        self.fleet, self.dry, self.yes, self.turn = fleet, dry, yes, turn
        self._needs_account = needs_account
        self._anew: dict[str, Json] | None = None  # what the API said when remembered droplets were silent
        self._lock = threading.Lock()
        self._droplets: dict[str, Json] | None = None
        self._failed: str | None = None
        self.account: tuple[Survey, Plan] | None = None  # as it was found, and what is to be made in it

    def address_of(self, name: str, limit: set[str]) -> str | None:
        """The public address, its host key pinned; None if the droplet is missing and the run is dry."""
        with self._lock:
            if self._failed is not None:
                raise FleetError(f"not reached: {self._failed}")
            if self._droplets is None:
                try:
                    self._droplets = self._remembered() or self._complete(limit)
                except FleetError as error:
                    self._failed = "the fleet could not be completed (see the first error)"
                    raise error
        droplet = self._droplets.get(name)
        return address(droplet, "public") if droplet else None

    def moved(self, droplet: Json) -> Json | None:
        """What the API has in the place of a remembered droplet that does not answer; None for the same."""
        with self._lock:
            if self._needs_account:
                return None
            if self._anew is None:
                self._anew = self._ask_anew()
        found = self._anew.get(str(droplet["name"]))
        if found is None or address(found, "public") is None:
            return None
        same = found["id"] == droplet["id"] and address(found, "public") == address(droplet, "public")
        return None if same else found

    def moved_address(self, name: str) -> str | None:
        """`moved`, for a droplet that was connected to in vain; its host key is pinned."""
        moved = self.moved((self._droplets or {})[name])
        if moved is None:
            return None
        self._pin({name: moved})
        return address(moved, "public")

    def is_off(self, name: str) -> bool:
        """Whether the API says, in this run, that the droplet is switched off."""
        droplets = self._droplets if self._needs_account else self._anew
        return (droplets or {}).get(name, {}).get("status") == "off"

    def _remembered(self) -> dict[str, Json] | None:
        """The droplets where the last run found them; None where the account has to be asked."""
        droplets = None if self._needs_account else remembered.load(self.fleet)
        if droplets is None:
            self._needs_account = True
        elif self.turn:
            self.turn.start(droplets, elsewhere=self.moved)
        return droplets

    def _ask_anew(self) -> dict[str, Json]:
        """The fleet's droplets; none if the API does not answer."""
        from smallfleet.cloud.client import Client, CloudError
        from smallfleet.cloud.survey import find_droplets, find_vpc

        client = Client(self.fleet.end_point, self.fleet.token())
        try:
            droplets, _ = find_droplets(client, self.fleet, find_vpc(client, self.fleet))
        except CloudError:
            return {}
        remembered.save(self.fleet, droplets)
        return droplets

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
        from smallfleet.cloud.plan import names_now

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
        from smallfleet.cloud.client import Client
        from smallfleet.cloud.create import point
        from smallfleet.cloud.plan import addresses_of
        from smallfleet.cloud.survey import survey

        assert self.account is not None
        client = Client(self.fleet.end_point, self.fleet.token())
        known = addresses_of(survey(client, self.fleet))  # what is new has one by now
        wanted = {target: known[target] for target in self.account[1].moves[name]}
        point(client, self.fleet, name, wanted, say)

    def _complete(self, limit: set[str]) -> dict[str, Json]:
        """The fleet's droplets, after what is missing was shown, agreed to and created."""
        droplets = self._surveyed(limit)
        remembered.save(self.fleet, droplets)
        return droplets

    def _surveyed(self, limit: set[str]) -> dict[str, Json]:
        from smallfleet.cloud import claim
        from smallfleet.cloud.client import Client
        from smallfleet.cloud.plan import plan
        from smallfleet.cloud.survey import survey

        fleet = self.fleet
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
        from smallfleet.cloud.create import carry_out
        from smallfleet.cloud.plan import plan
        from smallfleet.cloud.survey import survey

        fleet, turn = self.fleet, self.turn
        assert turn is not None  # only a dry run has none
        with turn.claimed(client):
            # What another run did until it let go of the claim is there now.
            found = survey(client, fleet)
            todo = plan(fleet, found, limit)
            if more := {droplet.name for droplet in todo.droplets} - agreed:
                raise FleetError(f"{', '.join(sorted(more))} went away just now: run again")
            turn.take(found.droplets, silent=True)
            droplets = carry_out(client, fleet, found, todo, say)
            self._pin({name: droplet for name, droplet in droplets.items() if name in limit})
            turn.take(droplets)
        return droplets

    def _agree(self) -> None:
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise FleetError("nobody is there to agree to this: give -y to create it, --dry to see the plan")
        say("Create this? [y/N] ", end="")
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
        if not new:
            return
        from smallfleet.cloud.create import together

        keys = together(lambda one: wait_for_key(one[2], one[0]), new, lambda one: one[0])
        for (name, id, where), key in zip(new, keys, strict=True):
            pin(known, where, key, name, id)
            say(f"{name} answers at {where}, host key pinned")
