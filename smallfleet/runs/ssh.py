"""SSH to a fleet's droplets for the engine's own programs, beside pyinfra's connections."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
from typing import Any

import paramiko

from smallfleet import programs
from smallfleet.cloud.droplet import Json, address
from smallfleet.cloud.hostkeys import host_key, pin, pinned
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet

TIMEOUT = 10.0  # seconds to connect, and to wait for an answer of the keeper


class Unreached(FleetError):
    """The droplet did not answer, or hung up."""


def connect(
    fleet: Fleet, droplet: Json, key: paramiko.PKey | None = None, seconds: float = TIMEOUT
) -> paramiko.SSHClient:
    """A connection as root, the host key pinned at the first one. Raises Unreached.

    `droplet` is the cloud's; `key` the owner's private key where it is open already; `seconds`: for TCP.
    """
    name, where = str(droplet["name"]), address(droplet, "public")
    if where is None:
        raise Unreached(f"{name} has no address yet")
    client = paramiko.SSHClient()
    try:
        if pinned(fleet.known_hosts, where, droplet["id"]) is None:
            pin(fleet.known_hosts, where, host_key(where), name, droplet["id"])
        client.load_host_keys(str(fleet.known_hosts))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        options: dict[str, Any] = {"pkey": key} if key else {"key_filename": str(fleet.ssh_key)}
        client.connect(
            where, username="root", timeout=seconds, banner_timeout=TIMEOUT, auth_timeout=TIMEOUT,
            look_for_keys=False, allow_agent=key is None, **options,
        )  # fmt: skip
    except (OSError, EOFError, paramiko.SSHException) as error:
        client.close()
        raise Unreached(f"{name} at {where} does not answer: {error or type(error).__name__}") from None
    return client


def watch(client: paramiko.SSHClient) -> None:
    """Have a connection fail within a minute where the other side is gone without a word."""
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(10)
        wire: Any = transport.sock
        with contextlib.suppress(OSError, AttributeError):  # a proxy's is no TCP socket
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 40_000)


class Keeper:
    """The program run_keeper on one droplet, in a channel of a connection; it takes and gives lines."""

    def __init__(self, name: str, client: paramiko.SSHClient, own: bool = False) -> None:
        """`own`: nobody else has the connection, so it is closed with the keeper. Raises Unreached."""
        self.name, self.own = name, own
        self._client = client  # paramiko ends the connection of a client that nobody has any more
        try:
            transport = client.get_transport()
            if transport is None:
                raise EOFError("not connected")
            self._channel = transport.open_session(timeout=TIMEOUT)
            source = programs.path("run_keeper").read_text()
            self._channel.exec_command(f"exec python3 -c {shlex.quote(source)}")
        except (OSError, EOFError, paramiko.SSHException) as error:
            if own:
                client.close()
            raise Unreached(f"{name} hung up: {error or type(error).__name__}") from None
        self._rest = b""

    def ask(self, words: Json) -> Json:
        """Say a line and wait for the answer. Raises Unreached."""
        self.say(words)
        return self.answer()

    def say(self, words: Json) -> None:
        try:
            self._channel.sendall(json.dumps(words).encode() + b"\n")
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._gone(error) from None

    def answer(self, seconds: float = TIMEOUT) -> Json:
        """The next line that is no sign of life, within `seconds` of the last sign. Raises Unreached."""
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                if line != b".":
                    return json.loads(line)
                continue
            try:
                data = self._receive(seconds)
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._gone(error) from None
            if not data:
                raise self._gone(None)
            self._rest += data

    def _receive(self, seconds: float) -> bytes:
        self._channel.settimeout(seconds)
        try:
            return self._channel.recv(65536)
        except TimeoutError:
            # pyinfra's prompt holds everything up here: what came meanwhile is read now.
            self._channel.settimeout(3)
            return self._channel.recv(65536)

    def close(self) -> None:
        """End the program, by the end of its input; what it has not been told is lost."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # it is gone already
            (self._client if self.own else self._channel).close()

    def _gone(self, error: BaseException | None) -> Unreached:
        said = str(error or "the connection is closed")
        if error is None and self._channel.recv_stderr_ready():
            said = self._channel.recv_stderr(4096).decode(errors="replace").strip() or said
        return Unreached(f"{self.name} hung up: {said.splitlines()[-1]}")
