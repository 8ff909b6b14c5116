"""A run of pyinfra from its start to its end, as the fleet sees it: its turn, and its record."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import gevent
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.connectors.ssh_util import get_private_key

from smallfleet.console import say
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet
from smallfleet.runs import note, record
from smallfleet.runs.turn import Turn

if TYPE_CHECKING:
    import click
    from pyinfra.api.state import State

STEP = 20.0  # seconds that the steps under way have to end when the turn is lost

_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(state: State, context: click.Context | None) -> Session:
    """The session that all hosts in `state` share. Ask for it while pyinfra sets its state up."""
    if state not in _sessions:
        _sessions[state] = Session(state, context)
    return _sessions[state]


def changes_something(options: dict[str, Any]) -> bool:
    """Whether pyinfra's command may change droplets, by its options."""
    asked = options.get("operations") or ("",)
    if options.get("dry") or options.get("debug_facts") or options.get("debug_operations"):
        return False
    if asked[0] in ("fact", "debug-inventory"):
        return False
    # With --json and without -y a deploy is planned and not carried out.
    return bool(options.get("yes") or not options.get("json_output") or asked[0] == "exec")


class Session:
    """The turns of a run (one for each fleet in its inventory) and the record that it leaves."""

    def __init__(self, state: State, context: click.Context | None) -> None:
        options: dict[str, Any] = context.params if context else {}
        self._state = state
        self._turns: dict[str, Turn] = {}
        self._lock = threading.Lock()  # hosts connect at the same time
        self._main = gevent.getcurrent()
        self._stopped = False
        self._command = context is not None  # pyinfra's command, and not its library
        self.changing = changes_something(options)
        if self.changing:
            self._diffs = record.Diffs(state, quiet=not options.get("diff"))
            # When the command is over, however it ended; connections are still open then.
            (context.call_on_close if context else atexit.register)(self.end)

    def turn(self, fleet: Fleet) -> Turn | None:
        """The run's turn on `fleet`, not yet taken; None for a run that changes nothing."""
        if not self.changing:
            return None
        with self._lock:
            if fleet.name not in self._turns:
                self._turns[fleet.name] = self._begin(fleet)
            return self._turns[fleet.name]

    def stop(self, error: FleetError) -> None:
        """End the whole run with one message. Returns never."""
        if gevent.getcurrent() is self._main:
            raise error
        # Raised in a host's greenlet, it would be that host's failure, and a traceback for the last one.
        self._throw(error)
        raise gevent.GreenletExit

    def _stop_soon(self, error: FleetError) -> None:
        """End the run even if no step ends, such as one whose connection is dead."""
        time.sleep(STEP)
        self._throw(error)

    def _throw(self, error: FleetError) -> None:
        if self._stopped:
            return
        self._stopped = True
        told: Exception = error
        if self._command and self._state.current_stage >= StateStage.Execute:
            # Not imported above: that would patch everything, where pyinfra is used as a library.
            from pyinfra_cli.exceptions import CliError

            # Of a FleetError pyinfra would say in which file it was thrown, which is gevent's. Before this
            # stage the deploy scripts are loaded, where pyinfra takes a CliError for a fault of the script.
            told = CliError(str(error))
        gevent.get_hub().loop.run_callback(self._main.throw, told)

    def _begin(self, fleet: Fleet) -> Turn:
        limit = [host.name for host in self._state.inventory if self._state.is_host_in_limit(host)]
        key = None
        with contextlib.suppress(PyinfraError):  # a bad key is pyinfra's to report
            key = get_private_key(self._state, str(fleet.ssh_key), "")
        words = ["pyinfra", *sys.argv[1:]]
        return Turn(
            fleet, note.begin(fleet, words, limit), partial(say, soft_wrap=True), key, self._stop_soon
        )

    def end(self) -> None:
        """Leave the record and give the turns back."""
        self._stopped = True
        for turn in self._turns.values():
            parts = record.droplets(self._state, self._diffs)
            ended = note.now()
            seconds = round((ended - note.time_of(turn.note["began"])).total_seconds())
            whole = {
                **turn.note,
                "ended": note.stamp(ended),
                "seconds": seconds,
                "result": f"stopped: {turn.broken}" if turn.broken else record.result(self._state, parts),
                "droplets": parts,
            }
            turn.end(record.masked(whole, secrets_of(turn.fleet)))
        self._turns.clear()


def secrets_of(fleet: Fleet) -> list[Any]:
    """The fleet's secrets, where they are open."""
    opened = fleet._secrets
    return [opened[name] for name in opened] if opened is not None else []
