"""Edits of a fleet and its droplets, such as an owner makes and such as somebody makes by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab.conftest import BIN, Workplace

Changes = set[tuple[str, str]]  # (droplet, operation)


@dataclass
class Edit:
    """One edit, and which operations are its own: those on `droplets` whose names have one of `words`."""

    title: str
    make: Callable[[Workplace], object]
    droplets: str  # names, with spaces between; "*" for all
    words: tuple[str, ...]
    silent: bool = False  # it changes nothing, and the plan must say so

    def owns(self, droplet: str, operation: str) -> bool:
        return self.droplets in ("*", droplet) or droplet in self.droplets.split()

    def own(self, changes: Changes) -> Changes:
        return {
            (droplet, operation)
            for droplet, operation in changes
            if (self.droplets == "*" or droplet in self.droplets.split())
            and any(word in operation for word in self.words)
        }


def role(name: str, **values: object) -> Callable[[Workplace], None]:
    """Set values of roles/NAME.yml; `a__b=1` is a: {b: 1}, None takes a key out."""

    def edit(place: Workplace) -> None:
        path = place.directory / f"roles/{name}.yml"
        data = yaml.safe_load(path.read_text())
        for key, value in values.items():
            at, *rest = key.split("__")
            inside = data
            while rest:
                inside = inside.setdefault(at, {})
                at, *rest = rest
            if value is None:
                inside.pop(at, None)
            else:
                inside[at] = value
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    return edit


def template(path: str, old: str, new: str) -> Callable[[Workplace], None]:
    def edit(place: Workplace) -> None:
        file = place.directory / "templates" / path
        text = file.read_text()
        assert old in text, (path, old)
        file.write_text(text.replace(old, new, 1))

    return edit


def by_hand(droplet: str, command: str) -> Callable[[Workplace], None]:
    def edit(place: Workplace) -> None:
        place.ssh(droplet, command)

    return edit


def secret(inventory: str, name: str, text: str) -> Callable[[Workplace], None]:
    def edit(place: Workplace) -> None:
        import os

        environment = {**os.environ, "SMALLFLEET_LAB": place.lab}
        subprocess.run(
            [str(BIN / "fleet"), "secrets", "set", inventory, name],
            cwd=place.directory,
            env=environment,
            input=text + "\n",
            text=True,
            check=True,
            capture_output=True,
        )

    return edit


def commit(place: Workplace, app: str) -> None:
    """A new commit on main in the lab's git repository of an app: an empty one."""
    repository = Path(f"/var/lib/smallfleet/labs/{place.lab}/git/{app}.git")
    git = ["git", f"--git-dir={repository}", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    tree = _said([*git, "rev-parse", "main^{tree}"])
    made = _said([*git, "commit-tree", tree, "-p", "main", "-m", "An empty change"])
    _said([*git, "update-ref", "refs/heads/main", made])


def _said(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def predicted(place: Workplace, inventory: str, *words: str) -> Changes:
    done = place.run("fleet", "plan", inventory, "deploys/site.py", "--format", "json", *words)
    plan = json.loads(done.stdout)
    return {(droplet["name"], op["name"]) for droplet in plan["droplets"] for op in droplet["operations"]}


def done(place: Workplace, inventory: str, *words: str) -> Changes:
    changed = place.deploy(inventory, "deploys/site.py", *words)
    return {(droplet, operation) for droplet, operations in changed.items() for operation in operations}


def table(rows: Iterable[tuple[str, int, int]]) -> str:
    lines = ["| # | edit | predicted | done |", "|---:|---|---:|---:|"]
    lines += [f"| {n} | {title} | {a} | {b} |" for n, (title, a, b) in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"
