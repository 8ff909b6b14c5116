"""What a lab is: `lab.json` in its directory, and where its things are."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

LABS = Path("/var/lib/smallfleet/labs")
RUNTIME = Path("/run/smallfleet")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?")


def default_name() -> str:
    """The lab that is meant when none is named: $SMALLFLEET_LAB, else "demo"."""
    return os.environ.get("SMALLFLEET_LAB") or "demo"


def firmware() -> float:
    """Seconds that a droplet's reboot takes besides its system's: $SMALLFLEET_LAB_FIRMWARE when the lab is
    started, else 0. A VM's firmware, boot loader and kernel take some; a container has none."""
    said = os.environ.get("SMALLFLEET_LAB_FIRMWARE") or "0"
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", said):
        raise LabError(f"SMALLFLEET_LAB_FIRMWARE={said!r}: seconds were expected, such as 20.")
    return float(said)


def droplet_limit() -> int:
    """How many droplets the account may have: $SMALLFLEET_LAB_DROPLETS when the lab is started, else 25."""
    said = os.environ.get("SMALLFLEET_LAB_DROPLETS") or "25"
    if not re.fullmatch(r"[1-9]\d{0,2}", said):
        raise LabError(f"SMALLFLEET_LAB_DROPLETS={said!r}: a number was expected, such as 64.")
    return int(said)


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot be a lab's name: use up to 30 of a-z, 0-9 and -, no - at either end."
        )
    return name


@dataclass(frozen=True)
class Lab:
    """One lab. `index` (1 to 254) gives its address range; all paths are absolute."""

    name: str
    index: int
    api: str
    token: str
    namespace: str
    public_range: str
    gateway: str
    resolver: str
    acme: str
    mongodb_archive: str
    mongodb_key: str
    git: str
    ssh_key: str
    ca: str
    known_hosts: str
    secrets: str
    directory: str

    @classmethod
    def load(cls, name: str | None = None) -> Lab:
        """Read the description of lab `name` (default: `default_name()`)."""
        name = check_name(name or default_name())
        path = LABS / name / "lab.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise LabError(f"There is no lab {name!r}. Start it with: fleet lab up --name {name}") from None
        except PermissionError:
            raise LabError(f"{path} is for root alone. Run this as root (sudo).") from None
        except (ValueError, TypeError) as error:
            raise LabError(
                f"{path} is damaged ({error}). Remove the lab: fleet lab down --name {name}"
            ) from None

    def save(self) -> None:
        """Write `lab.json`, readable by root alone."""
        write_private(self.path / "lab.json", json.dumps(asdict(self), indent=2) + "\n")

    @property
    def path(self) -> Path:
        return Path(self.directory)

    @property
    def runtime(self) -> Path:
        return RUNTIME / self.name

    def repository(self, app: str) -> Path:
        """The bare git repository that the lab's droplets fetch the app from."""
        return self.path / "git" / f"{app}.git"

    @property
    def port(self) -> int:
        """The API's TCP port on 127.0.0.1."""
        return int(self.api.split(":")[2].split("/")[0])


def describe(name: str, index: int, port: int, token: str) -> Lab:
    """The description of a lab from what is chosen for it."""
    directory = LABS / name
    gateway = f"198.18.{index}.1"
    return Lab(
        name=name,
        index=index,
        api=f"http://127.0.0.1:{port}/v2/",
        token=token,
        namespace=f"sf-{name}",
        public_range=f"198.18.{index}.0/24",
        gateway=gateway,
        resolver=gateway,
        acme=f"https://{gateway}:14000/dir",
        mongodb_archive=f"http://{gateway}/mongodb",
        mongodb_key=f"http://{gateway}/mongodb/key.asc",
        git=f"git://{gateway}/",
        ssh_key=str(directory / "id_ed25519"),
        ca=str(directory / "ca.pem"),
        known_hosts=str(directory / "known_hosts"),
        secrets=str(directory / "secrets.age"),
        directory=str(directory),
    )


def make(name: str) -> Lab:
    """Describe lab `name` on disk: a new one, or the kept one with a port that is free now.

    Call with `exclusive()` held: the index is chosen among those that no other lab has.
    """
    directory = LABS / name
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)
    if (directory / "lab.json").exists():
        old = Lab.load(name)
        lab = describe(name, old.index, _free_port(old.port), old.token)
    else:
        lab = describe(name, _free_index(), _free_port(), "dop_v1_" + secrets.token_hex(32))
    lab.save()
    if not Path(lab.ssh_key).exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab-{name}", "-f", lab.ssh_key)
    return lab


def known() -> list[str]:
    """The names of all labs that have a directory."""
    return sorted(path.parent.name for path in LABS.glob("*/lab.json"))


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock that orders what labs share: indexes, ip_forward, clearing up."""
    # The lock is on a directory that is always there: the last lab must leave no file behind.
    lock = os.open("/run/lock", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        RUNTIME.mkdir(mode=0o711, parents=True, exist_ok=True)
        yield
    finally:
        os.close(lock)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only root can read, never half written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    partial.touch(mode=0o600)
    partial.chmod(0o600)
    partial.write_text(text)
    partial.rename(path)


def _free_index() -> int:
    used = {Lab.load(name).index for name in known()}
    links = {link["ifname"] for link in json.loads(run("ip", "-json", "link"))}
    for index in range(1, 255):
        if index not in used and f"sf{index}" not in links:
            return index
    raise LabError("All 254 address ranges are taken by labs. Remove some: fleet lab down --name NAME")


def _free_port(wish: int = 0) -> int:
    """A TCP port on 127.0.0.1 that nobody listens on, `wish` if that is free."""
    # Below those that outgoing connections are given: one of them could take it before the API does.
    candidates = random.sample(range(20000, 32000), 100)
    for port in [wish, *candidates] if wish else candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise LabError("No TCP port between 20000 and 32000 is free on 127.0.0.1 for the lab's API.")
