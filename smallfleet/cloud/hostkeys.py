"""Host keys, pinned when a droplet first answers: `ADDRESS KEYTYPE KEY NAME DROPLETID` a line."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

import paramiko

from smallfleet.errors import FleetError


def pinned(known_hosts: Path, address: str, droplet: int) -> str | None:
    """`KEYTYPE KEY` pinned for this droplet at this address; None for a new droplet or address."""
    for line in _lines(known_hosts):
        words = line.split()
        if len(words) >= 5 and words[0] == address and words[4] == str(droplet):
            return f"{words[1]} {words[2]}"
    return None


def _lines(known_hosts: Path) -> list[str]:
    return known_hosts.read_text().splitlines() if known_hosts.exists() else []


def pin(known_hosts: Path, address: str, key: str, name: str, droplet: int) -> None:
    """Pin `key` ("KEYTYPE KEY"). A key that this very droplet had before and that differs is refused."""
    for line in _lines(known_hosts):
        words = line.split()
        if len(words) >= 5 and words[4] == str(droplet) and f"{words[1]} {words[2]}" != key:
            raise FleetError(
                f"{name}: the key of droplet {droplet} at {address} is not the pinned one. Somebody may "
                f"be in between. If you rebuilt it, take its line out of {known_hosts} and run again."
            )
    kept = [
        line
        for line in _lines(known_hosts)
        if line.split() and line.split()[0] != address and line.split()[4:5] != [str(droplet)]
    ]
    known_hosts.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=known_hosts.parent, prefix=f".{known_hosts.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"{line}\n" for line in [*kept, f"{address} {key} {name} {droplet}"]))
    Path(temporary).chmod(0o644)
    Path(temporary).replace(known_hosts)


def host_key(address: str, port: int = 22, timeout: float = 5) -> str:
    """`KEYTYPE KEY` that the SSH server shows, Ed25519 before others. OSError, SSHException if none."""
    with socket.create_connection((address, port), timeout=timeout) as connection:
        transport = paramiko.Transport(connection)
        try:
            options = transport.get_security_options()
            options.key_types = tuple(sorted(options.key_types, key=lambda kind: kind != "ssh-ed25519"))
            transport.start_client(timeout=timeout)
            key = transport.get_remote_server_key()
            return f"{key.get_name()} {key.get_base64()}"
        finally:
            transport.close()


def wait_for_key(address: str, name: str, seconds: float = 180) -> str:
    """The host key, once SSH answers; `FleetError` naming the droplet if it does not in time."""
    end = time.monotonic() + seconds
    while True:
        try:
            return host_key(address)
        except (OSError, EOFError, paramiko.SSHException) as error:
            if time.monotonic() > end:
                raise FleetError(
                    f"{name}: SSH at {address} did not answer within {seconds:.0f} s "
                    f"({type(error).__name__}). Look at its console, and at ssh_from in the inventory."
                ) from None
        time.sleep(0.2)
