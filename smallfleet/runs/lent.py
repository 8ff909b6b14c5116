"""pyinfra's connections to droplets, lent to the program that has the lock: no second login is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future

import paramiko

PATIENCE = 5.0  # seconds that a login of pyinfra's is waited for; then one may as well log in oneself


class Lent:
    """What pyinfra has, or is about to have. It stays pyinfra's: nobody here closes it."""

    def __init__(self) -> None:
        self._logins: dict[str, Future[paramiko.SSHClient | None]] = {}

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

    def take_back(self, name: str) -> None:
        """It is of no use."""
        self._logins.pop(name, None)

    def get(self, name: str) -> paramiko.SSHClient | None:
        """The connection as root; None where pyinfra has none, or none in time."""
        login = self._logins.get(name)
        try:
            client = login.result(PATIENCE) if login else None
        except TimeoutError:
            return None
        transport = client.get_transport() if client else None
        usable = transport is not None and transport.is_active() and transport.get_username() == "root"
        return client if usable else None
