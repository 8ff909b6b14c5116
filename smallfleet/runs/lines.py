"""The connections in which the lock's program runs: pyinfra's where there is one, which saves a login."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import paramiko

from smallfleet.cloud.droplet import Json
from smallfleet.model.fleet import Fleet
from smallfleet.runs.ssh import TIMEOUT, Keeper, Unreached, connect

PATIENCE = 5.0  # seconds that a login of pyinfra's is waited for; then one may as well log in oneself

Elsewhere = Callable[[Json], Json | None]  # where the cloud has a droplet that does not answer; None: there


class Lines:
    """What pyinfra has, or is about to have, stays pyinfra's: nobody here closes it."""

    def __init__(self, fleet: Fleet, key: paramiko.PKey | None) -> None:
        """`key`: the owner's private key where it is open already."""
        self._fleet, self._key = fleet, key
        self._logins: dict[str, Future[paramiko.SSHClient | None]] = {}

    # For pyinfra.

    @contextlib.contextmanager
    def login(self, name: str) -> Iterator[None]:
        """pyinfra logs in to the droplet in this block; who wants its connection waits for that."""
        login = self._logins[name] = Future()
        try:
            yield
        finally:
            if not login.done():
                login.set_result(None)

    def lend(self, name: str, client: paramiko.SSHClient) -> None:
        """pyinfra has logged in, and the droplet let it."""
        login = self._logins.setdefault(name, Future())
        if not login.done():
            login.set_result(client)

    # For the lock.

    def open(self, droplet: Json, elsewhere: Elsewhere, lent: bool = True) -> Keeper:
        """A keeper on the droplet. Raises Unreached. `lent`: in pyinfra's connection where there is one."""
        name, began = str(droplet["name"]), time.monotonic()
        client = self._lent(name) if lent else None
        # One that is dead is dead to pyinfra, too: both together take no longer than one alone.
        left = TIMEOUT - (time.monotonic() - began)
        if client is not None:
            try:
                return Keeper(name, client)
            except Unreached:
                self.take_back(name)
        try:
            client = connect(self._fleet, droplet, self._key, left)
        except Unreached:
            moved = elsewhere(droplet)
            if moved is None:
                raise
            client = connect(self._fleet, moved, self._key)
        return Keeper(name, client, own=True)

    def take_back(self, name: str) -> None:
        """pyinfra's connection is of no use."""
        self._logins.pop(name, None)

    def _lent(self, name: str) -> paramiko.SSHClient | None:
        """The connection as root; None where pyinfra has none, or none in time."""
        login = self._logins.get(name)
        try:
            client = login.result(PATIENCE) if login else None
        except TimeoutError:
            return None
        transport = client.get_transport() if client else None
        usable = transport is not None and transport.is_active() and transport.get_username() == "root"
        return client if usable else None
