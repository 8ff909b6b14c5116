"""Real droplets for tests: one lab for the whole fleet, made once a session and gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smallfleet.lab.descriptor import Lab
from smallfleet.lab.visitor import ssh_command

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# What the deploys install of Debian's. Where a test is not about that, its droplets have it already.
INSTALLED = "nginx openssl certbot unattended-upgrades needrestart tzdata"
# Seconds until a command is taken for hung. Far more than any takes beside other tests on a busy machine.
HUNG = 2700.0
# Seconds until what a test waits for is taken not to come. On a busy machine a boot may take minutes.
PATIENCE = 600.0
SITES = {"podcast", "courses", "bytes", "api", "search", "video", "media"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)


INVENTORY = """from smallfleet import Droplet, Firewall, Fleet

fleet = Fleet(
    name={name!r},
    region="nyc3",
    image="debian-12-x64",
    vpc="10.118.0.0/24",
    domain="example.com",
    ssh_keys=["~/.ssh/id_ed25519.pub"],
    firewall=Firewall(ssh_from=["0.0.0.0/0", "::/0"]),
    droplets=[
        {droplets}
    ],
).in_lab()

globals().update(fleet.groups())
"""


def finished(command: list[str], what: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with no input. One that hangs ends the test and shows how far it came."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HUNG, **options
        )
    except subprocess.TimeoutExpired as hung:
        said = [(part or b"").decode(errors="replace")[-6000:] for part in (hung.stdout, hung.stderr)]
        pytest.fail(f"{what} has not ended within {HUNG:.0f} s\n{said[0]}\n{said[1]}", pytrace=False)


def what_failed(said: str) -> str:
    """Of pyinfra's output each error, with what its droplet said before: it may be far from the end."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in said.splitlines()]
    found = []
    for at, line in enumerate(lines):
        if "Error" in line or "error" in line:
            droplet = re.match(r"\s*\[[\w-]+\]", line)
            before = [one for one in lines[max(0, at - 200) : at] if droplet and one.startswith(droplet[0])]
            found += [*before[-12:], line]
    return "\n".join(["What failed:", *dict.fromkeys(found)][:60])


class Workplace:
    """A copy of the owner's rooms in which a test may edit, and a lab that its commands run against."""

    def __init__(self, directory: Path, lab: str, packages: str = "") -> None:
        """`packages`: that the droplets have from the beginning, besides what DigitalOcean's have."""
        self.directory, self.lab, self.packages = directory, lab, packages
        for room in ("inventory", "roles", "templates", "deploys"):
            shutil.copytree(PROJECT / room, directory / room)

    def write_inventory(self, name: str, droplets: dict[str, list[str]]) -> str:
        """Write inventory/NAME.py, a fleet in the lab of `droplets` {name: roles}; its path for commands."""
        lines = [
            f"Droplet({droplet!r}, size='s-1vcpu-2gb', roles={roles!r}),"
            for droplet, roles in droplets.items()
        ]
        path = self.directory / f"inventory/{name}.py"
        path.write_text(INVENTORY.format(name=name, droplets="\n        ".join(lines)))
        return str(path.relative_to(self.directory))

    def environment(self) -> dict[str, str]:
        own = {"SMALLFLEET_LAB": self.lab, "SMALLFLEET_LAB_PACKAGES": self.packages}
        return {**os.environ, **own, "PYINFRA_PROGRESS": "off"}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the venv in this workplace; a failure shows its output."""
        command = [str(BIN / words[0]), *words[1:]]
        done = finished(command, " ".join(words), cwd=self.directory, env=self.environment())
        if check and done.returncode:
            said = f"{done.stdout[-6000:]}\n{done.stderr[-12000:]}\n{what_failed(done.stderr)}"
            pytest.fail(f"{' '.join(words)} ended {done.returncode}\n{said}", pytrace=False)
        return done

    def deploy(self, inventory: str, deploy: str, *words: str) -> dict[str, list[str]]:
        """Run a deploy with -y; returns {droplet: [names of the operations that changed it]}."""
        done = self.run("pyinfra", "--json", inventory, deploy, "-y", *words)
        return changes_by_droplet(json.loads(done.stdout[done.stdout.index("{") :]))

    def sites(self, inventory: str) -> list[dict]:
        return json.loads(self.run("fleet", "lab", "sites", inventory, "--json", check=False).stdout or "[]")

    def ssh(self, droplet: str, command: str, check: bool = True) -> str:
        """What `command` prints as root on the droplet; with `check` it has to end with 0."""
        # As `fleet lab ssh` does, without starting Python for each of some hundred calls.
        done = finished(ssh_command(Lab.load(self.lab), droplet, [command]), f"{droplet}: {command}")
        if check and done.returncode:
            pytest.fail(
                f"{droplet}: {command} ended {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False
            )
        return done.stdout


def changes_by_droplet(printed: dict) -> dict[str, list[str]]:
    """The operations that changed each droplet, from the output of `pyinfra --json -y`."""
    changes: dict[str, list[str]] = {}
    for operation in printed["results"]["operations"]:
        assert not operation["error"], f"{operation['name']} failed on {operation['error']}"
        for droplet in operation["success"]:
            changes.setdefault(droplet, []).append(operation["name"])
        for droplet in operation["no_change"]:
            changes.setdefault(droplet, [])
    return changes


def all_answer(place: Workplace, inventory: str) -> bool:
    """Whether each of the seven sites answers 200."""
    return {answer["role"] for answer in place.sites(inventory) if answer["status"] == 200} == SITES


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition()` holds; fails with `what` after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE:.0f} s: {what}", pytrace=False)
        time.sleep(0.2)


def traces(name: str) -> list[str]:
    """All that the system shows of a lab: namespaces, links, rules, mounts, processes, cgroups."""
    commands = ["ip netns", "ip -br link", "nft list tables", "cat /proc/mounts", "ps -eo args"]
    shown = [subprocess.run(c.split(), capture_output=True, text=True, check=False).stdout for c in commands]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/smallfleet/{name}*")]
    groups += [str(path) for path in Path("/sys/fs/cgroup").glob(f"smallfleet/{name}*")]
    return [line for text in shown for line in text.splitlines() if name in line] + groups


@contextlib.contextmanager
def workplace(directory: Path, packages: str = "") -> Iterator[Workplace]:
    """A workplace with a lab of its own, which is gone afterwards. `packages`: see Workplace."""
    lab = f"test{os.getpid()}-{uuid.uuid4().hex[:4]}"
    place = Workplace(directory, lab, packages)
    place.run("fleet", "lab", "up", "--name", lab)
    try:
        yield place
    finally:
        place.run("fleet", "lab", "down", "--name", lab)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The eight droplets of inventory/lab.py, provisioned by deploys/site.py from nothing."""
    with workplace(tmp_path_factory.mktemp("fleet")) as place:
        place.deploy("inventory/lab.py", "deploys/site.py")
        yield place
