"""One run's turn on a fleet: one at a time, whichever droplets it is limited to.

The lock is held on the first two droplets of the inventory that answer: while one of them reboots, the other
still says whose turn it is. Each of the run's droplets keeps the record of what was done to it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import paramiko

from smallfleet.cloud.droplet import Json, address
from smallfleet.errors import FleetError, Taken
from smallfleet.model.fleet import Fleet
from smallfleet.runs.hold import Broken, Busy, Hold
from smallfleet.runs.lines import Elsewhere, Lines
from smallfleet.runs.note import Note, turn_of
from smallfleet.runs.ssh import Keeper, Unreached, watch

if TYPE_CHECKING:
    from smallfleet.cloud.client import Client

LOCKS = 2
PATIENCE = 3.0  # seconds for which a run is waited for: it may be about to let go, or to be refused itself
RETURN = 120.0  # seconds that a command waits for a lost lock to be back

Say = Callable[[str], None]


def nowhere_else(droplet: Json) -> Json | None:
    return None


class Lost(FleetError):
    """The turn was lost in mid-run."""


class Turn:
    """The turn of the run that `note` tells of."""

    def __init__(
        self,
        fleet: Fleet,
        note: Note,
        say: Say,
        key: paramiko.PKey | None = None,
        on_lost: Callable[[FleetError], None] = lambda error: None,
    ) -> None:
        """`on_lost` is called, in a thread of its own, where somebody took the turn away."""
        self.fleet, self.note, self._say, self._on_lost = fleet, note, say, on_lost
        self.waited = False  # another run had its turn when this one asked first
        self._holds: list[Hold] = []
        self._keepers: dict[str, Keeper] = {}  # of the record alone
        self._lines = Lines(fleet, key)
        self._lockable: list[str] = []  # the droplets where the lock is to be, if they answer
        self._taking: threading.Thread | None = None
        self._locked = threading.Event()  # or refused
        self._refused: FleetError | None = None
        self._told = False

    def take(
        self,
        droplets: Mapping[str, Json],
        then: Callable[[], None] = lambda: None,
        silent: bool = False,
        elsewhere: Elsewhere = nowhere_else,
    ) -> None:
        """Take the turn, once; `then` may refuse it still (Taken). FleetError says whose turn it is.

        `silent`: that no droplet answers is no fault yet, as where they have only just been made.
        """
        try:
            self._take(droplets, silent, elsewhere)
            self._locked.set()
            then()
        except Taken as error:
            self._drop()
            raise FleetError(self._busy(error.note)) from None
        except FleetError:
            self._drop()
            raise

    @contextlib.contextmanager
    def claimed(self, client: Client) -> Iterator[None]:
        """The claim on the fleet in its account. FleetError says whose it is."""
        from smallfleet.cloud.claim import Claim

        try:
            with Claim(client, self.fleet, self.note):
                yield
        except Taken as error:
            raise FleetError(self._busy(error.note)) from None

    def start(
        self,
        droplets: Mapping[str, Json],
        then: Callable[[], None] = lambda: None,
        elsewhere: Elsewhere = nowhere_else,
    ) -> None:
        """`take` in the background, while pyinfra connects; `ready` and `join` wait for it."""

        def work() -> None:
            try:
                self.take(droplets, then, elsewhere=elsewhere)
            except FleetError as error:
                self._refused = error
            except Exception as error:
                self._refused = FleetError(f"nothing was changed, as the fleet cannot be locked: {error!r}")
                raise
            finally:
                self._locked.set()

        self._lockable = [str(droplet["name"]) for droplet in self._there(droplets)[:LOCKS]]
        self._taking = threading.Thread(target=work, daemon=True)
        self._taking.start()

    def _check_refused(self, name: str) -> None:
        """FleetError if the turn is another's; the whole of it once, for the first droplet that asks."""
        if self._refused is not None:
            if keeper := self._keepers.pop(name, None):
                keeper.close()
            if self._told:
                raise FleetError("not reached: another run has its turn")
            self._told = True
            raise self._refused

    def _there(self, droplets: Mapping[str, Json]) -> list[Json]:
        """Those that may answer, in the inventory's order."""
        found = [droplets[one.name] for one in self.fleet.droplets if one.name in droplets]
        return [one for one in found if one.get("status") != "new" and address(one, "public")]

    def _take(self, droplets: Mapping[str, Json], may_be_silent: bool, elsewhere: Elsewhere) -> None:
        if self._holds:
            return
        silent = []
        there = self._there(droplets)
        with self._opened(there[:LOCKS], elsewhere) as ready:
            # One after the other, so that no two runs wait for each other.
            for droplet in there:
                try:
                    self._holds.append(self._hold(droplet, elsewhere, ready.pop(str(droplet["name"]), None)))
                except Unreached as error:
                    silent.append(str(error))
                if len(self._holds) == LOCKS:
                    break
        if not self._holds and silent:
            if may_be_silent:
                return
            raise FleetError("no droplet answers, so the fleet cannot be locked:\n" + "\n".join(silent))
        for text in silent:
            self._say(f"{text}; the lock is on {', '.join(hold.name for hold in self._holds)}")
        dead = {hold.dead["id"]: hold.dead for hold in self._holds if hold.dead}
        for note in dead.values():
            self._say(f"The run {note['id']} of {note['who']} was cut off: {note['command']}. Going on.")

    @contextlib.contextmanager
    def _opened(self, droplets: list[Json], elsewhere: Elsewhere) -> Iterator[dict[str, Future[Keeper]]]:
        """A keeper on each, opened at the same time; those that nobody took are closed."""
        with ThreadPoolExecutor(LOCKS) as pool:
            ready = {str(one["name"]): pool.submit(self._open, one, elsewhere) for one in droplets}
            try:
                yield ready
            finally:
                for left in ready.values():
                    with contextlib.suppress(FleetError):
                        left.result().close()

    def _open(self, droplet: Json, elsewhere: Elsewhere) -> Keeper:
        # Who takes the turn in the foreground keeps pyinfra from connecting: it cannot be waited for.
        return self._lines.open(droplet, elsewhere, lent=self._taking is not None)

    def _hold(self, droplet: Json, elsewhere: Elsewhere, ready: Future[Keeper] | None) -> Hold:
        end = time.monotonic() + PATIENCE
        while True:
            keeper = ready.result() if ready else self._open(droplet, elsewhere)
            ready = None
            try:
                # One that is lost is sought by a new login: it may be pyinfra's connection that is dead.
                again = partial(self._lines.open, droplet, elsewhere, lent=False)
                return Hold(keeper, again, self.note, self._when_lost)
            except Busy:
                self.waited = True
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)
            except Unreached:
                if keeper.own:
                    raise
                self._lines.take_back(keeper.name)

    def _when_lost(self) -> None:
        if self.broken:
            self._on_lost(Lost(f"stopped: {self.broken}"))

    def _busy(self, note: Note) -> str:
        return (
            f"nothing was changed on the fleet {self.fleet.name}: {turn_of(note)}.\n"
            f"Wait for it, or end it where it stands: fleet lock break {self.fleet.inventory}"
        )

    # While it lasts.

    @property
    def broken(self) -> str | None:
        """Why the lock is lost for good, if somebody broke it or had it meanwhile."""
        return next((str(hold.lost) for hold in self._holds if isinstance(hold.lost, Broken)), None)

    def check(self) -> None:
        """Raises Lost if the turn is no longer this run's. Asked before each command."""
        if not self._holds or any(hold.held for hold in self._holds):
            return
        end = time.monotonic() + RETURN
        while time.monotonic() < end:
            if any(hold.held for hold in self._holds):
                return
            if self.broken:
                raise Lost(f"stopped: {self.broken}")
            if all(hold.lost for hold in self._holds):
                break
            time.sleep(0.2)
        raise Lost("stopped: the lock on the fleet was lost, so that another run may have its turn")

    # For pyinfra, as it connects to a droplet: all three, in this order.

    def login(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A block in which pyinfra logs in, as to other droplets at that time; `ready` is called in it."""
        return self._lines.login(name)

    def ready(self, name: str, client: paramiko.SSHClient) -> None:
        """pyinfra has logged in: wait until the lock is held. FleetError if the turn is another's."""
        watch(client)
        self._lines.lend(name, client)
        if name not in self._lockable and not self._holds_on(name):
            self._open_record(name, client)  # which costs no time here
        if self._taking is not None:
            self._locked.wait()
        self._check_refused(name)

    def join(self, name: str, client: paramiko.SSHClient) -> None:
        """Have the droplet keep the record of what is done to it. FleetError if the turn is another's."""
        if self._taking is not None:
            self._taking.join()
        self._check_refused(name)
        if self._holds_on(name):  # the lock's program does it
            if keeper := self._keepers.pop(name, None):
                keeper.close()
            return
        if name not in self._keepers:
            self._open_record(name, client)
        with contextlib.suppress(Unreached, KeyError):
            self._keepers[name].say({"keep": {**self.note, "droplets": {}}, "lock": False})

    def _holds_on(self, name: str) -> bool:
        return any(hold.name == name for hold in self._holds)

    def _open_record(self, name: str, client: paramiko.SSHClient) -> None:
        self._keepers.pop(name, None)
        with contextlib.suppress(Unreached):  # a record is not worth a failed run
            self._keepers[name] = Keeper(name, client)

    def end(self, record: Note) -> None:
        """Leave the record on each droplet, the whole of it where the lock is, and give the turn back."""
        parts = record["droplets"]

        def leave(name: str) -> None:
            own = {name: parts[name]} if name in parts else {}
            with contextlib.suppress(Unreached):
                self._keepers[name].say({**record, "droplets": own})
                while "ended" not in self._keepers[name].answer():
                    pass

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(leave, self._keepers))
            list(pool.map(lambda hold: hold.end(record), self._holds))

    def _drop(self) -> None:
        for hold in self._holds:
            hold.end({"refused": True})
        self._holds = []
