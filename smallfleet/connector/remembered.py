"""Where the last run found the droplets, for runs that need nothing else of the cloud's API.

A deploy script that creates nothing may say at its top

    NEEDS_ACCOUNT = False

Its runs then go straight to the droplets, where the last run that asked the API found them: without a wait,
and while the API is away. That a droplet is the right one its host key proves. The API is asked where
anything is not known, and where a droplet does not answer.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from smallfleet.cloud.droplet import Json, address
from smallfleet.cloud.hostkeys import pinned

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet

NAME = "NEEDS_ACCOUNT"
KEPT = ("id", "name", "status", "networks")  # of a droplet, as the API tells of it


def needs_account(deploys: Iterable[str]) -> bool:
    """Whether a run of these deploy scripts may need the account: unless all of them say that they do not."""
    scripts = list(deploys)
    return not scripts or not all(_says_no(Path(script)) for script in scripts)


def _says_no(script: Path) -> bool:
    try:
        body = ast.parse(script.read_text()).body
    except (OSError, SyntaxError, ValueError):
        return False
    return any(
        isinstance(line, ast.Assign)
        and [target.id for target in line.targets if isinstance(target, ast.Name)] == [NAME]
        and isinstance(line.value, ast.Constant)
        and line.value.value is False
        for line in body
    )


def _path(fleet: Fleet) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = f"{fleet.end_point}\0{fleet.name}\0{fleet.known_hosts}"
    return cache / "smallfleet/droplets" / f"{hashlib.sha256(kind.encode()).hexdigest()[:32]}.json"


def load(fleet: Fleet) -> dict[str, Json] | None:
    """All droplets of the inventory by name; None where not all are known, each with its host key pinned."""
    path = _path(fleet)
    try:
        found = path.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        said = json.loads(path.read_text())
        droplets = {one.name: said[one.name] for one in fleet.droplets}
        known = [
            pinned(fleet.known_hosts, str(address(droplet, "public")), droplet["id"])
            for droplet in droplets.values()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return droplets if all(known) else None


def save(fleet: Fleet, droplets: Mapping[str, Json]) -> None:
    """Keep them for the next run; a cache that cannot be written is no fault."""
    path = _path(fleet)
    kept = {name: {key: droplet.get(key) for key in KEPT} for name, droplet in droplets.items()}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, beside = tempfile.mkstemp(dir=path.parent)  # for the owner alone
        with os.fdopen(descriptor, "w") as file:
            json.dump(kept, file)
        Path(beside).replace(path)
