"""Several droplets of one role: the first is the canary, the rest follow in the inventory's order.

pyinfra runs an operation on all droplets at once, so a release is one operation per turn: the k-th droplet
of a role is released in the k-th turn, if all before it were. What the droplets are on in the end is said at
the end, whatever came between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

from pyinfra.api.state import BaseStateCallback
from pyinfra.context import ctx_host

from smallfleet.context import Context
from smallfleet.facts.release import ServingRelease
from smallfleet.model.fleet import Fleet

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta
    from pyinfra.api.state import State
    from rich.table import Table


class Row(TypedDict):
    """One app on one droplet, as it is now."""

    came: str  # what came of it in this run
    serving: dict[str, Any]  # ServingRelease


class Batches(BaseStateCallback):
    """The releases of one run: whose turn it is, and what came of them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.rows: dict[tuple[str, str], Row] = {}  # by app and droplet
        self._apps: dict[tuple[str, str], str] = {}  # the app of an operation on a host
        self._done = ""
        self._open: set[str] = set()  # connections

    @classmethod
    def of(cls, context: Context) -> Batches:
        """The one that all droplets of a run share."""
        state = context.host.state
        for handler in state.callback_handlers:
            if isinstance(handler, cls):
                return handler
        batches = cls(context.fleet)
        state.add_callback_handler(batches)
        return batches

    @property
    def turns(self) -> int:
        """How many droplets the role with most of them has."""
        return max((len(self.fleet.droplets_of(app.name)) for app in self.fleet.apps), default=0)

    def turn_of(self, app: str, droplet: str) -> int:
        """The place of the droplet among those of the app; 0 is the canary's."""
        return [one.name for one in self.fleet.droplets_of(app)].index(droplet)

    def expect(self, host: Host, app: str, operation: OperationMeta, done: str = "released") -> None:
        """Say what came of this operation on the app; `done` if it did its work."""
        self._apps[operation._hash, host.name] = app
        self._done = done
        self._open.add(host.name)

    def failed_before(self, host: Host, app: str) -> str | None:
        """The droplet whose turn was before this one's and that failed, or was not reached."""
        before = {one.name for one in self.fleet.droplets_of(app)[: self.turn_of(app, host.name)]}
        failed = sorted(one.name for one in host.state.failed_hosts if one.name in before)
        return failed[0] if failed else None

    def guard(self, host: Host, app: str) -> Callable[[], bool]:
        """For an operation's `_if`: `may_go`, asked when its turn has come."""
        itself = host.state.inventory.get_host(
            host.name
        )  # `host` may be pyinfra's name for whoever is at work
        return lambda: self.may_go(itself, app)

    def may_go(self, host: Host, app: str) -> bool:
        """Whether all droplets before this one are well; if not, that is said."""
        failed = self.failed_before(host, app)
        if failed:
            self._look(host, app, f"left as it was, since {failed} failed")
        return failed is None

    # What pyinfra calls. It hands the state first.

    def operation_host_error(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        app = self._apps.get((op_hash, host.name))
        if app is None:
            return
        self._look(host, app, "refused: it serves on")
        # The run may end here (it does without -y), so the others are looked at now.
        for other in state.activated_hosts - state.failed_hosts - {host}:
            has = other.name in [one.name for one in self.fleet.droplets_of(app)]
            if has and (app, other.name) not in self.rows:
                self._look(other, app, f"left as it was, since {host.name} failed")

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        for (operation, name), app in self._apps.items():
            host = state.inventory.get_host(name)
            if operation == op_hash and host not in state.failed_hosts:
                meta = state.ops[host][op_hash].operation_meta
                if meta.is_complete() and meta.did_change():
                    self._look(host, app, self._done)

    def host_disconnect(self, state: State, host: Host) -> None:  # type: ignore[override]
        self._open.discard(host.name)
        if not self._open and self.rows:
            from rich.console import Console  # most runs release nothing

            console = Console(stderr=True, highlight=False)
            # Into a file or a pipe nothing is cut short.
            console = console if console.is_terminal else Console(stderr=True, highlight=False, width=160)
            console.print(self.table())
            self.rows = {}

    def _look(self, host: Host, app: str, came: str) -> None:
        with ctx_host.use(host):
            self.rows[app, host.name] = {"came": came, "serving": host.get_fact(ServingRelease, app=app)}

    def table(self) -> Table:
        """What each droplet is on now, in the inventory's order."""
        from rich.table import Table

        table = Table("app", "droplet", "serves", "commit", "state", "in this run", title="Releases")
        order = [droplet.name for droplet in self.fleet.droplets]
        for (app, droplet), row in sorted(
            self.rows.items(), key=lambda one: (one[0][0], order.index(one[0][1]))
        ):
            serving = row["serving"]
            table.add_row(
                app,
                droplet,
                serving.get("release") or "nothing",
                (serving.get("commit") or "")[:8],
                serving.get("state") or "",
                row["came"],
            )
        return table
