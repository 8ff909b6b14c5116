"""The secrets file: YAML `name: text`, encrypted with age to the owner's SSH keys."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyrage
import yaml

from smallfleet.errors import FleetError
from smallfleet.secrets.keys import identity, recipients
from smallfleet.secrets.secret import Secret

NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")


class Secrets(Mapping[str, Secret]):
    """Secrets by name. Changes are made on a copy (`with_`) and saved whole."""

    def __init__(self, path: Path, secrets: Mapping[str, Secret]) -> None:
        self.path = path
        self._secrets = dict(secrets)

    @classmethod
    def open(cls, path: Path, identities: Iterable[Path]) -> Secrets:
        """Decrypt `path` with the first of the private keys `identities` that fits; no file is no secrets."""
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            return cls(path, {})
        except OSError as error:
            raise FleetError(f"{path}: the secrets cannot be read: {error.strerror}") from None
        keys = list(identities)
        try:
            text = pyrage.decrypt(sealed, [identity(key) for key in keys]).decode()
        except pyrage.DecryptError:
            names = " or ".join(str(key) for key in keys)
            raise FleetError(
                f"{path}: {names} does not open it. It was encrypted to other SSH keys, or it is damaged: "
                "name the right key in the inventory (ssh_key=), or take the file from your last commit."
            ) from None
        return cls(path, parse(text, str(path)))

    def __getitem__(self, name: str) -> Secret:
        return self._secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._secrets))

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"Secrets({self.path}, {len(self)} secrets)"

    def with_(self, changes: Mapping[str, Secret]) -> Secrets:
        """A copy with `changes` laid over."""
        return Secrets(self.path, {**self._secrets, **changes})

    def text(self) -> str:
        """All of it in clear, as YAML: for the owner's editor and for encryption only."""
        return yaml.safe_dump({name: self[name].reveal() for name in self}, allow_unicode=True, width=2**20)

    def save(self, public_keys: Iterable[Path]) -> None:
        """Encrypt to `public_keys` and replace the file, atomically, 0600."""
        sealed = pyrage.encrypt(self.text().encode(), recipients(public_keys))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(
                prefix=f".{self.path.name}.", dir=self.path.parent
            )  # 0600 by itself
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(sealed)
                    file.flush()
                    os.fsync(file.fileno())
                Path(aside).replace(self.path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise FleetError(f"{self.path}: the secrets cannot be written: {error.strerror}") from None


def parse(text: str, where: str) -> dict[str, Secret]:
    """Secrets from YAML in clear. `FleetError` names places, never texts."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FleetError(f"{where}: line {line} of the secrets is not YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise FleetError(f"{where}: the secrets are not YAML") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise FleetError(f"{where}: the secrets should be lines of the form NAME: text")
    for name, value in data.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise FleetError(f"{where}: a secret's name should have the form ROLE/NAME, one does not")
        if not isinstance(value, str) or not value:
            raise FleetError(
                f"{where}: the secret {name} should be a text; put it into quotes if it looks like a number"
            )
    return {name: Secret(value) for name, value in data.items()}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the secrets for a read and a write that belong together, against another command."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
