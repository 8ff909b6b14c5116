"""The lock on one droplet: held by a program there, for as long as this run's connection to it lives."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import paramiko

from smallfleet.errors import FleetError, Taken
from smallfleet.runs.note import Note
from smallfleet.runs.ssh import Keeper, Unreached

SIGN = 25.0  # seconds without a sign of life until the keeper is taken for gone; it says one every 5
AGAIN = 300.0  # seconds in which a lost lock is sought again: a reboot takes a part of them

Connect = Callable[[], paramiko.SSHClient]
Opened = tuple[paramiko.SSHClient, Keeper]


class Busy(Taken):
    """Another run has the lock."""

    def __init__(self, name: str, note: Note) -> None:
        super().__init__(f"{name} is locked by the run {note.get('id')}", note)


class Broken(FleetError):
    """This run may not have the lock again: `str` says why."""


def opened(name: str, connect: Connect) -> Opened:
    """A connection with the keeper in it, which holds nothing yet. Raises Unreached."""
    client = connect()
    try:
        return client, Keeper(name, client)
    except FleetError:
        client.close()
        raise


class Hold:
    """The lock, taken when made: raises Busy, Broken or Unreached. If it is lost it is sought again."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        note: Note,
        on_lost: Callable[[], None],
        ready: Callable[[], Opened] | None = None,
    ) -> None:
        """`ready` gives what was opened already, for the first time that it is taken."""
        self.name = name
        self.dead: Note | None = None  # what a dead run left in the lock
        self.lost: FleetError | None = None  # why it is lost for good
        self.held = False
        self._connect, self._note, self._on_lost = connect, note, on_lost
        self._ended = threading.Event()
        self._closing = False
        self._take(ready)
        threading.Thread(target=self._watch, daemon=True).start()

    def _take(self, ready: Callable[[], Opened] | None = None) -> None:
        self._client, self._keeper = ready() if ready else opened(self.name, self._connect)
        try:
            answer = self._keeper.ask({"keep": self._note, "lock": True})
            if "busy" in answer:
                raise Busy(self.name, answer["busy"])
            if "broken" in answer:
                raise Broken(answer["broken"])
        except FleetError:
            self._client.close()
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
                self._client.close()
                if not self._closing:
                    self._seek()
            if self.lost:
                return self._on_lost()

    def _seek(self) -> None:
        """Take it again: the droplet rebooted, or the network was away for a moment."""
        end = time.monotonic() + AGAIN
        while not self._closing:
            try:
                return self._take()
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
        self._client = self._connect()
        keeper = Keeper(self.name, self._client)
        keeper.ask({"keep": record, "lock": False})
        keeper.ask(record)

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
        self._client.close()
