"""The lock on one droplet: held by a program there, for as long as this run's connection to it lives."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from smallfleet.errors import FleetError, Taken
from smallfleet.runs.note import Note
from smallfleet.runs.ssh import Keeper, Unreached

SIGN = 25.0  # seconds without a sign of life until the keeper is taken for gone; it says one every 5
AGAIN = 300.0  # seconds in which a lost lock is sought again: a reboot takes a part of them

Again = Callable[[], Keeper]  # raises Unreached


class Busy(Taken):
    """Another run has the lock."""

    def __init__(self, name: str, note: Note) -> None:
        super().__init__(f"{name} is locked by the run {note.get('id')}", note)


class Broken(FleetError):
    """This run may not have the lock again: `str` says why."""


class Hold:
    """The lock, taken when made: raises Busy, Broken or Unreached. If it is lost it is sought again."""

    def __init__(self, keeper: Keeper, again: Again, note: Note, on_lost: Callable[[], None]) -> None:
        """`keeper` holds nothing yet; `again` opens another there, if the lock is lost with this one."""
        self.name = keeper.name
        self.dead: Note | None = None  # what a dead run left in the lock
        self.lost: FleetError | None = None  # why it is lost for good
        self.held = False
        self._again, self._note, self._on_lost = again, note, on_lost
        self._ended = threading.Event()
        self._closing = False
        self._take(keeper)
        threading.Thread(target=self._watch, daemon=True).start()

    def _take(self, keeper: Keeper) -> None:
        self._keeper = keeper
        try:
            answer = self._keeper.ask({"keep": self._note, "lock": True})
            if "busy" in answer:
                raise Busy(self.name, answer["busy"])
            if "broken" in answer:
                raise Broken(answer["broken"])
        except FleetError:
            self._keeper.close()
            raise
        self.dead = answer["dead"]
        self.held = True

    def _watch(self) -> None:
        while not self._closing:
            try:
                if "ended" in self._keeper.answer(SIGN):
                    self._ended.set()
                    return
            except Unreached:
                self.held = False
                self._keeper.close()
                if not self._closing:
                    self._seek()
            if self.lost:
                return self._on_lost()
        self._ended.set()  # `end` has nobody to wait for

    def _seek(self) -> None:
        """Take it again: the droplet rebooted, or the network was away for a moment."""
        end = time.monotonic() + AGAIN
        while not self._closing:
            try:
                return self._take(self._again())
            except Broken as error:
                self.lost = error
                return None
            except FleetError as error:
                if time.monotonic() > end:
                    self.lost = error
                    return None
            time.sleep(1)

    def _leave(self, record: Note) -> None:
        """Leave the record alone: the lock is lost."""
        self._keeper = self._again()
        self._keeper.ask({"keep": record, "lock": False})
        self._keeper.ask(record)

    def end(self, record: Note, seconds: float = 15) -> None:
        """Leave the whole record there ({"refused": True}: none) and give the lock back."""
        self._closing = True
        with contextlib.suppress(FleetError):
            if self.held:
                self._keeper.say(record)
                self._ended.wait(seconds)
            elif "refused" not in record:
                self._leave(record)
        self.held = False
        self._keeper.close()
