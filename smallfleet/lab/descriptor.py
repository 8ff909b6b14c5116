"""A lab described: where its parts answer, where its files lie."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from smallfleet.lab.errors import LabError

LABS = Path("/var/lib/smallfleet/labs")
RUNTIME = Path("/run/smallfleet")


def lab_name(name: str | None = None) -> str:
    """The lab that is meant: `name`, else $SMALLFLEET_LAB, else "demo"."""
    return name or os.environ.get("SMALLFLEET_LAB") or "demo"


@dataclass(frozen=True)
class Lab:
    """One lab. Kept in lab.json (0600: it holds the API's token) in the lab's directory."""

    name: str
    index: int  # 0..199: the third byte of its public range
    port: int  # of the API, on loopback
    token: str

    @property
    def directory(self) -> Path:
        return LABS / self.name

    @property
    def runtime(self) -> Path:
        return RUNTIME / self.name

    @property
    def namespace(self) -> str:
        return f"sf-{self.name}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/"

    @property
    def public_range(self) -> str:
        return f"198.18.{self.index}.0/24"

    @property
    def gateway(self) -> str:
        return f"198.18.{self.index}.1"

    @property
    def resolver(self) -> str:
        return self.gateway

    @property
    def acme(self) -> str:
        return f"https://{self.gateway}:14000/dir"

    @property
    def mongodb_archive(self) -> str:
        return f"http://{self.gateway}/mongodb"

    @property
    def mongodb_key(self) -> str:
        return f"{self.mongodb_archive}/key.asc"

    @property
    def git(self) -> str:
        return f"git://{self.gateway}/"

    @property
    def ssh_key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets.age"

    def save(self) -> None:
        """Write lab.json; atomic, readable by root alone."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self.directory / "lab.json.new"
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(asdict(self), indent=2) + "\n")
        aside.replace(self.directory / "lab.json")

    @classmethod
    def load(cls, name: str | None = None) -> Lab:
        """The lab called `name` (see `lab_name`); `LabError` if there is none."""
        name = lab_name(name)
        try:
            return cls(**json.loads((LABS / name / "lab.json").read_text()))
        except FileNotFoundError:
            raise LabError(f"there is no lab called {name}. Make it: fleet lab up --name {name}") from None
        except PermissionError:
            raise LabError(
                f"the lab {name} belongs to root. Run the command with sudo, or as root."
            ) from None

    @classmethod
    def all(cls) -> list[Lab]:
        """Every lab that has a descriptor, by name."""
        return [cls.load(file.parent.name) for file in sorted(LABS.glob("*/lab.json"))]


def free_index() -> int:
    """The lowest index that no lab on this machine has."""
    taken = {lab.index for lab in Lab.all()}
    for index in range(200):
        if index not in taken:
            return index
    raise LabError(
        "200 labs are up, which is all the addresses there are. End one: fleet lab down --name NAME"
    )
