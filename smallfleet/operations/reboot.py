"""Reboots that are known to have happened."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.exceptions import PyinfraError

from smallfleet.operations import Commands

ASKING = 20  # seconds for one command
LOST = (OSError, EOFError, SSHException, PyinfraError)
BOOT_ID = StringCommand("cat", "/proc/sys/kernel/random/boot_id")
NOISE = "sshd[[]|systemd-logind|session-|user@|user-runtime-dir|pam_unix|Sent signal"
JOURNAL = f"journalctl -q --no-pager --boot --output short --lines 300 | grep -Ev '{NOISE}' | tail -n 12"
# The apps end after NGINX, so that no request that has begun is answered by a 502.
END = "sleep 0.2; systemctl stop nginx.service; systemctl --no-block reboot"
# One command, as visitors wait: the boot's id, the journal's last lines, the reboot once these were sent.
REBOOT = StringCommand(
    f"cat /proc/sys/kernel/random/boot_id; {JOURNAL}; setsid sh -c '{END}' >/dev/null 2>&1 </dev/null &"
)


@operation(is_idempotent=False)
def rebooted(seconds: float = 300.0) -> Commands:
    """
    Reboot, and wait until the droplet answers over a new connection, from a new boot.

    + seconds: how long that may take; then the operation fails, with what was last in the journal
    """
    yield FunctionCommand(reboot, (seconds,), {})


def reboot(state: Any, host: Any, seconds: float) -> bool:
    """As the operation; False if it did not come back."""
    began = time.monotonic()
    old, _, journal = _ask(host, REBOOT).partition("\n")
    if not old:
        host.log_styled("does not answer, so it is not rebooted", fg="red", log_func=logger.error)
        return False
    host.log("reboots", logger.info)
    with _quiet():
        _disconnect(host)
        while time.monotonic() - began < seconds:
            if _boot_of(host) not in ("", old):
                host.log(f"is back after {time.monotonic() - began:.1f} s", logger.info)
                return True
            _disconnect(host)
            time.sleep(0.2)
    lines = "\n".join(f"      {line}" for line in journal.splitlines())
    host.log_styled(
        f"did not come back within {seconds:.0f} s. Look at its console in the cloud's control panel.\n"
        f"    The last lines of its journal before the reboot:\n{lines}",
        fg="red",
        log_func=logger.error,
    )
    return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let paramiko not print tracebacks of connections that a reboot cuts off: that is what is waited for."""
    transport = logging.getLogger("paramiko.transport")
    level = transport.level
    transport.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        transport.setLevel(level)


def _boot_of(host: Any) -> str:
    """The droplet's boot id over a connection of its own; empty if it does not answer."""
    address = host.connector.data.get("ssh_hostname") or host.name
    try:
        # Whether anybody listens is asked first: that is quicker to be told than SSH is, and says nothing.
        socket.create_connection((address, int(host.connector.data.get("ssh_port") or 22)), timeout=2).close()
    except OSError:
        return ""
    host.connect(show_errors=False)
    return _ask(host, BOOT_ID) if host.connected else ""


def _ask(host: Any, command: StringCommand) -> str:
    """What a command prints; empty if the connection is lost."""
    try:
        return str(host.run_shell_command(command, _timeout=ASKING)[1].stdout.strip())
    except LOST:
        return ""


def _disconnect(host: Any) -> None:
    try:
        host.disconnect()
    except LOST:
        host.connected = False
