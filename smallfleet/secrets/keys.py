"""SSH keys as age's recipients and identities."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives import serialization

from smallfleet.errors import FleetError


def recipients(public_keys: Iterable[Path]) -> list[pyrage.ssh.Recipient]:
    """age's recipients of public key files (ssh-ed25519 and ssh-rsa); `FleetError` for any other."""
    found = []
    for path in public_keys:
        try:
            found.append(pyrage.ssh.Recipient.from_str(path.read_text().strip()))
        except OSError as error:
            raise FleetError(f"{path}: the public key cannot be read: {error.strerror}") from None
        except (pyrage.RecipientError, ValueError):
            raise FleetError(
                f"{path}: secrets can be encrypted to ssh-ed25519 and ssh-rsa keys only. "
                "Make one: ssh-keygen -t ed25519"
            ) from None
    return found


def identity(private_key: Path) -> pyrage.ssh.Identity:
    """age's identity of a private key file. A key with a passphrase is asked for on the terminal, once."""
    try:
        data = private_key.read_bytes()
    except OSError as error:
        raise FleetError(
            f"{private_key}: the private key that opens the secrets cannot be read: {error.strerror}. "
            "Name yours in the inventory: ssh_key="
        ) from None
    return _identity(private_key, data)


@cache
def _identity(private_key: Path, data: bytes) -> pyrage.ssh.Identity:
    try:
        key = serialization.load_ssh_private_key(data, None)
    except (TypeError, ValueError) as error:
        if not isinstance(error, TypeError) and "password" not in str(error).lower():
            raise FleetError(
                f"{private_key}: this is not an SSH private key that can be read: {error}"
            ) from None
        key = serialization.load_ssh_private_key(data, _passphrase(private_key))
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    try:
        return pyrage.ssh.Identity.from_buffer(plain)
    except pyrage.IdentityError as error:
        raise FleetError(f"{private_key}: only ed25519 and RSA keys can open secrets: {error}") from None


def _passphrase(private_key: Path) -> bytes:
    if not sys.stdin.isatty():
        raise FleetError(f"{private_key}: the key has a passphrase, and there is no terminal to ask for it")
    text = getpass.getpass(f"Passphrase of {private_key}: ").encode()
    try:
        serialization.load_ssh_private_key(private_key.read_bytes(), text)
    except ValueError:
        raise FleetError(f"{private_key}: that is not its passphrase") from None
    return text
