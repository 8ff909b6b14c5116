"""What the last run of a deploy asked a droplet, in the owner's cache directory: commands, no answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import click

MOST = 5000  # questions kept for one droplet
DAYS = 90  # that they are kept after the last change


def directory() -> Path:
    """$XDG_CACHE_HOME/smallfleet/asked."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smallfleet" / "asked"


def kind_of_run() -> str:
    """Names the run, so that the next of its kind is recognised: where, what on which, and how far it goes.

    Call it in the main greenlet, where click's context is.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        words = sys.argv
    else:
        options = context.params
        goes = "dry" if options.get("dry") else "yes" if options.get("yes") else "asks"
        words = [str(options.get("inventory")), *map(str, options.get("operations") or ()), goes]
    return "\0".join([str(Path.cwd()), *words])


def _path(run: str, host: str) -> Path:
    return directory() / f"{hashlib.sha256(f'{run}{chr(0)}{host}'.encode()).hexdigest()[:32]}.json"


def load(run: str, host: str) -> list[str]:
    """The commands in the order they were asked; none where nothing is known, or others could write it."""
    path = _path(run, host)
    try:
        found = path.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            return []
        said = json.loads(path.read_text())
        return [said["commands"][number] for number in said["order"]]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return []


def save(run: str, host: str, order: list[str]) -> None:
    """Keep the order for the next run; a cache that cannot be written is no fault."""
    order = order[:MOST]
    commands = list(dict.fromkeys(order))
    number = {command: at for at, command in enumerate(commands)}
    path = _path(run, host)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, beside = tempfile.mkstemp(dir=path.parent)  # for the owner alone
        with os.fdopen(descriptor, "w") as file:
            json.dump({"commands": commands, "order": [number[command] for command in order]}, file)
        Path(beside).replace(path)
        for old in path.parent.glob("*"):
            if old.stat().st_mtime < time.time() - DAYS * 86400:
                old.unlink()
