"""Whether an app's release program will find something to do, once the operations before have run."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from pyinfra.api import FactBase

from smallfleet import programs
from smallfleet.plan.overlay import Overlay

# The program itself is asked, on the droplet, with the files that it will find in place of those that are
# there. It comes by stdin, with the files: they may hold secrets, and others can see a command line.
ASK = """
import base64, json, pathlib, sys, types
said = {said}
files = {{path: None if text is None else base64.b64decode(text) for path, text in said["files"].items()}}
class Path(type(pathlib.Path())):
    def is_file(self):
        return files[str(self)] is not None if str(self) in files else super().is_file()
    exists = is_file
    def read_bytes(self):
        if str(self) not in files:
            return super().read_bytes()
        if files[str(self)] is None:
            raise FileNotFoundError(str(self))
        return files[str(self)]
    def read_text(self, *words, **named):
        return self.read_bytes().decode() if str(self) in files else super().read_text(*words, **named)
release = sys.modules["release"] = types.ModuleType("release")
exec(base64.b64decode(said["program"]), release.__dict__)
for name, value in list(vars(release).items()):
    if isinstance(value, pathlib.Path):
        setattr(release, name, Path(value))
release.Path = Path
print(json.dumps(release.status(release.App.load(said["app"]))))
"""


class ReleaseStatusWith(FactBase[dict[str, Any]]):
    """What `smallfleet-release status` will say of `app`; to be asked with `_stdin=question(…)`."""

    default = dict

    def command(self, app: str) -> str:
        return f"python3 - {shlex.quote(app)}"

    def process(self, output: list[str]) -> dict[str, Any]:
        return dict(json.loads(output[-1]))


def question(app: str, files: dict[str, bytes | None]) -> str:
    """The program that is asked, for a Python's stdin."""
    said = {
        "app": app,
        "program": base64.b64encode(_program().encode()).decode(),
        "files": {
            path: None if content is None else base64.b64encode(content).decode()
            for path, content in files.items()
        },
    }
    return ASK.format(said=repr(said))


def _program() -> str:
    """The release program as droplets have it: joined from its modules, where it is more than one."""
    text = getattr(programs, "text", None)
    return str(text("release")) if text else programs.path("release").read_text()


def status(app: str, overlay: Overlay, now: dict[str, Any], ask: Callable[..., Any]) -> dict[str, Any]:
    """The fact ReleaseStatus as it will be: `now`, with what the overlay changes under the release."""
    if not now.get("release"):
        return now
    files = {
        path: node.content if node.kind == "file" else None
        for path, node in overlay.paths.items()
        if path.startswith("/etc/") and PurePosixPath(path).name.startswith(app)
    }
    return dict(ask(ReleaseStatusWith, app=app, _stdin=question(app, files))) if files else now
