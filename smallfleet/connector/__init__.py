"""pyinfra's connector @droplet/NAME: SSH to a fleet's droplet, which is created when it is missing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from gevent.monkey import is_module_patched
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.util import CommandOutput

from smallfleet.connector.fast import FastSSHConnector
from smallfleet.connector.remembered import needs_account
from smallfleet.connector.run import Run, run_of
from smallfleet.errors import FleetError
from smallfleet.runs.session import session_of

# It prints a traceback for each connection that goes; pyinfra says in a line what that meant for the run.
logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)

if TYPE_CHECKING:
    from paramiko import SSHClient
    from pyinfra.api.host import Host
    from pyinfra.api.state import State


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What is wrong with the fleet, as pyinfra tells it of one host."""
    try:
        yield
    except FleetError as error:
        raise ConnectError(str(error)) from None


class DropletConnector(FastSSHConnector):
    """A droplet of `host.data.fleet`. Its address comes from the cloud at the first connection of a run."""

    _run: Run | None = None
    _blank = False  # the droplet does not exist and --dry creates none

    def __init__(self, state: State, host: Host) -> None:
        super().__init__(state, host)
        # Made in the main greenlet, where click's context is; connect() runs in others.
        context = click.get_current_context(silent=True)
        options: dict[str, Any] = context.params if context else {}
        self._session = session_of(state, context)
        # A run that only asks creates nothing either.
        self._dry, self._yes = not self._session.changing, bool(options.get("yes"))
        self._needs_account = needs_account(options.get("operations") or ())

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    def connect(self) -> None:
        fleet, name = self.host.data.fleet, self.host.name
        turn = self._session.turn(fleet)
        self._run = run_of(self.state, fleet, self._dry, self._yes, turn, self._needs_account)
        # Without pyinfra's command, to connect to one host keeps all else up: nobody can wait for it.
        together = is_module_patched("threading")
        with turn.login(name) if turn and together else contextlib.nullcontext():
            limit = {host.name for host in self.state.inventory if self.state.is_host_in_limit(host)}
            with _told():
                address = self._run.address_of(name, limit)
            self._blank = address is None
            if address is None:
                return
            self.data["ssh_hostname"] = address
            super().connect()
        if turn is not None:
            with _told():
                turn.join(name, self._connected())

    def _log_in(self) -> None:
        """Where the droplet is, or where the API has it now if it is not there any more."""
        assert self._run is not None
        try:
            super()._log_in()
        except ConnectError:
            with _told():
                moved = self._run.moved_address(self.host.name)
                if moved is None and self._run.is_off(self.host.name):
                    raise FleetError(
                        "it is switched off: switch it on in the cloud's control panel, and run again"
                    ) from None
            if moved is None:
                raise
            self.data["ssh_hostname"] = moved
            super()._log_in()

    def _ready(self) -> None:
        """Have the lock. What was asked before, a run that still had it might have changed since."""
        turn = self._session.turn(self.host.data.fleet)
        if turn is not None:
            with _told():
                turn.ready(self.host.name, self._connected())
            if turn.waited and self._fast:
                self._forget()  # the shell is from before, too

    def _connected(self) -> SSHClient:
        assert self.client is not None
        return self.client

    def addresses(self) -> dict[str, dict[str, str]]:
        """{name: {"public", "private"}} of the whole fleet; 0.0.0.0 for a droplet that is missing."""
        if self._run is None:
            self._run = run_of(self.state, self.host.data.fleet, self._dry, self._yes)
        return self._run.addresses()

    def names(self) -> dict[str, list[str]]:
        """{DNS name of a site: the addresses that it had when the run began}."""
        return self._run.names() if self._run else {}

    def moves(self) -> list[str]:
        """The DNS names that are to lead to this droplet once it serves their sites."""
        return self._run.moves(self.host.name) if self._run else []

    def move(self, name: str) -> None:
        """Have one of `moves` lead here."""
        assert self._run is not None
        self._run.move(name)

    def run_shell_command(self, *args: Any, **kwargs: Any) -> tuple[bool, CommandOutput]:
        if self._blank:
            return True, CommandOutput([])  # facts of a blank droplet: nothing is there
        self._check_turn()
        return super().run_shell_command(*args, **kwargs)

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        self._refuse_blank()
        self._check_turn()
        return super().put_file(*args, **kwargs)

    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        self._refuse_blank()
        return super().get_file(*args, **kwargs)

    def disconnect(self) -> None:
        if not self._blank:
            super().disconnect()

    def _check_turn(self) -> None:
        if self._run is not None and self._run.turn is not None:
            try:
                self._run.turn.check()
            except FleetError as error:
                self._session.stop(error)

    def _refuse_blank(self) -> None:
        if self._blank:
            raise ConnectError(f"the droplet {self.host.name} does not exist: --dry created none")
