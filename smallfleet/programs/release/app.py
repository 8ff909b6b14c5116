"""What is to be released, and where it lives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

APPS = Path("/etc/smallfleet/apps")
UNITS = Path("/etc/systemd/system")
SERVERS = Path("/etc/uwsgi")


class ReleaseError(Exception):
    """A release that was given up: what failed, and the last words of what failed."""


class App(NamedTuple):  # to import dataclasses takes as long as half of the rest of a status
    """What is to be released, and where it lives."""

    name: str
    repository: str
    ref: str
    requirements: str
    health: str
    keep: int  # releases, the one that serves among them
    domain: str
    setup: str | None = None
    setup_seconds: float = 300.0
    files: str | None = None  # the directory of big files, which setup may write to
    start_seconds: float = 60.0  # for an app to load and answer; a worker imports its app before it accepts
    watch: float = 10.0  # seconds after the switch in which a release that turns bad is switched back
    keep_bytes: int | None = None  # of disk, for all releases together
    secrets: Sequence[str] = ()  # the variables of its environment that nobody may see

    @classmethod
    def load(cls, name: str) -> App:
        path = APPS / f"{name}.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise ReleaseError(
                f"There is no app {name} here ({path}); run deploys/webapp.py first."
            ) from None
        except (TypeError, ValueError) as error:
            raise ReleaseError(f"{path} cannot be used: {error}") from None

    @property
    def root(self) -> Path:
        return Path("/srv") / self.name

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def records(self) -> Path:
        """What is kept of releases that are gone, and what is held back; for root alone."""
        return self.root / "records"

    @property
    def venvs(self) -> Path:
        return self.root / "venvs"

    @property
    def mirror(self) -> Path:
        return self.root / "repository"

    @property
    def link(self) -> Path:
        return self.root / "current"

    @property
    def current(self) -> str | None:
        """The release that `current` names."""
        return self.link.readlink().name if self.link.is_symlink() else None

    @property
    def wanted_environment(self) -> Path:
        """What the next release is to have."""
        return APPS / f"{self.name}.env"

    @property
    def environment(self) -> Path:
        """What the releases that serve have: the wanted one, once a release has been healthy with it."""
        return APPS / f"{self.name}.serving.env"

    def unit(self, release: str) -> str:
        return f"{self.name}@{release}.service"

    def candidate(self, release: str) -> str:
        return f"{self.name}-candidate@{release}.service"

    def socket(self, release: str) -> Path:
        """The release's private socket, beside the one that all share."""
        return Path("/run") / self.name / release / "uwsgi.sock"

    def inputs(self) -> str:
        """Digest of all that a release depends on besides its commit."""
        files = [
            SERVERS / f"{self.name}.ini",
            self.wanted_environment,
            *(UNITS / f"{self.name}{kind}" for kind in (".socket", "@.service", "-candidate@.service")),
        ]
        digest = hashlib.sha256(f"{self.repository}\0{self.requirements}\0{self.setup}\0".encode())
        for file in files:
            digest.update(file.read_bytes() if file.is_file() else b"(missing)")
            digest.update(b"\0")
        return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; {} if there is none, or nothing that can be read."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError):
        return {}


def write_json(path: Path, values: dict[str, Any], mode: int = 0o644) -> None:
    """Replace the file in one step."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=mode)
    new.write_text(json.dumps(values) + "\n")
    new.replace(path)
