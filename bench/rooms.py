"""A fleet of any size for the benchmarks: a copy of the owner's rooms, and a lab of its own.

The first eight droplets are those of inventory/prod.py; more of them are more of the same apps, each with a
domain, a database and a repository of its own: podcast2, courses2, … A single one has podcast and MongoDB.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from smallfleet.cloud.client import Client
from smallfleet.cloud.survey import address, survey
from smallfleet.inventory import load_inventory
from smallfleet.lab import repositories
from smallfleet.lab.descriptor import Lab
from smallfleet.model.fleet import Fleet
from tests.lab.conftest import INVENTORY

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
APPS = ("podcast", "courses", "bytes", "api", "search", "video", "media")


def apps_of(count: int) -> list[str]:
    """The apps of a fleet of `count` droplets, one of which is MongoDB's."""
    return [
        APPS[number % len(APPS)] + (str(number // len(APPS) + 1) if number >= len(APPS) else "")
        for number in range(count - 1)
    ]


def role_like(text: str, name: str, other: str) -> str:
    """The role file `text` of the app `name` as that of an app `other`, of the same code."""
    role = yaml.safe_load(text)
    role["domain"] = role["domain"].replace(name, other)
    role["aliases"] = [alias.replace(name, other) for alias in role.get("aliases", [])]
    if "mongodb" in role:
        role["mongodb"] = {"database": other}
    if "files" in role:
        role["files"]["directory"] = role["files"]["directory"].replace(name, other)
    return yaml.safe_dump(role, sort_keys=False)


class Rooms:
    """The rooms in `directory`, and the lab `lab`: for `count` droplets."""

    def __init__(self, directory: Path, count: int, lab: str) -> None:
        self.directory, self.count, self.lab = directory, count, lab
        for room in ("inventory", "roles", "templates", "deploys"):
            shutil.copytree(PROJECT / room, directory / room, ignore=shutil.ignore_patterns("*.age"))
        apps = apps_of(count)
        for app in apps[len(APPS) :]:
            base = app.rstrip("0123456789")
            text = (PROJECT / f"roles/{base}.yml").read_text()
            (directory / f"roles/{app}.yml").write_text(role_like(text, base, app))
        droplets = [f"Droplet({app!r}, size='s-1vcpu-1gb', roles=[{app!r}])," for app in apps]
        droplets.append("Droplet('mongo', size='s-1vcpu-2gb', roles=['mongodb']),")
        if count == 1:
            droplets = ["Droplet('all', size='s-1vcpu-2gb', roles=['podcast', 'mongodb']),"]
        self.inventory = f"inventory/bench{count}.py"
        text = INVENTORY.format(name=f"bench{count}", droplets="\n        ".join(droplets))
        (directory / self.inventory).write_text(text)
        self.template = directory / "templates/nginx/site.conf.j2"
        self._text, self._changes = self.template.read_text(), 0

    def environment(self) -> dict[str, str]:
        """What commands of these rooms are started with."""
        return {
            **os.environ,
            "SMALLFLEET_LAB": self.lab,
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "PYINFRA_PROGRESS": "off",
            "SMALLFLEET_LAB_DROPLETS": str(max(self.count, 25)),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the venv in these rooms; ends the benchmark with its output if it fails."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(
                f"{' '.join(words)} ended {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            )
        return done

    def up(self) -> None:
        """Have the lab, its repositories, and the droplets, which answer on SSH then; nothing is on them."""
        self.run("fleet", "lab", "up", "--name", self.lab)
        lab = Lab.load(self.lab)
        for app in apps_of(self.count)[len(APPS) :]:
            repositories.push(
                repositories.DEMO / app.rstrip("0123456789"), lab.repository(app), "One more of the same app"
            )
        self.run("pyinfra", self.inventory, "exec", "-y", "--", "true")

    def down(self) -> None:
        self.run("fleet", "lab", "down", "--name", self.lab)

    def fleet(self) -> Fleet:
        """The fleet as the inventory says it; the process is in these rooms from here on."""
        os.environ["SMALLFLEET_LAB"] = self.lab
        os.chdir(self.directory)
        return load_inventory(Path(self.inventory))

    def change(self) -> None:
        """Change the template of NGINX's sites, by a comment."""
        self._changes += 1
        self.template.write_text(f"{self._text}# {self._changes}\n")

    def change_back(self) -> None:
        self.template.write_text(self._text)


def addresses(fleet: Fleet) -> dict[str, str]:
    """The public addresses of the fleet's droplets, by name."""
    found = survey(Client(fleet.end_point, fleet.token()), fleet)
    return {name: str(address(droplet, "public")) for name, droplet in found.droplets.items()}


def changes_in_json(printed: str) -> int:
    """How many operations changed a droplet, each counted on each: from what `pyinfra --json -y` prints."""
    results = json.loads(printed[printed.index("{") :])["results"]
    return sum(len(operation["success"]) for operation in results["operations"])
