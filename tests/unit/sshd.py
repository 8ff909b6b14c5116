"""An SSH server in this process, in the place of a droplet's: commands run here, as processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable

import paramiko

KEY = paramiko.ECDSAKey.generate()


class Sshd:
    """Listens on `port` of 127.0.0.1 and lets everybody in; commands have `more` in their environment."""

    def __init__(self, **more: str) -> None:
        self.logins = 0
        self.commands: list[str] = []  # in the order in which they came
        self._environment = {**os.environ, **more}
        self._transports: list[paramiko.Transport] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections; new ones are let in."""
        while self._transports:
            self._transports.pop().close()

    def close(self) -> None:
        """End all, and wait until each command has read what was sent to it and has ended."""
        self._socket.close()
        self.cut()
        for process in self._processes:
            process.wait(30)

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._socket.accept()
            except OSError:
                return
            self.logins += 1
            transport = paramiko.Transport(wire)
            transport.add_server_key(KEY)
            self._transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(threading.Event(), Session(self._run))

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        pipe = subprocess.PIPE
        words = ["sh", "-c", command]
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment)
        self.commands.append(command)
        self._processes.append(process)
        assert process.stdin and process.stdout and process.stderr
        into, out, errors = process.stdin, process.stdout, process.stderr

        def carry(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                while data := receive(65536):
                    send(data)

        def give() -> None:
            carry(channel.recv, lambda data: os.write(into.fileno(), data))
            into.close()

        def take() -> None:
            carry(lambda size: os.read(out.fileno(), size), channel.sendall)
            carry(lambda size: os.read(errors.fileno(), size), channel.sendall_stderr)
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                channel.send_exit_status(process.wait())
                channel.close()

        for work in (give, take):
            threading.Thread(target=work, daemon=True).start()


class Session(paramiko.ServerInterface):
    """What the server says to each request of one connection."""

    def __init__(self, run: Callable[[paramiko.Channel, str], None]) -> None:
        self._run = run

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._run(channel, command.decode())
        return True
