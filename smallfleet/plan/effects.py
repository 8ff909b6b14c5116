"""What an operation changes, beside the commands that it runs: left in the overlay for the facts after it.

pyinfra's own operations are in `pyinfra_effects.py`, ours in `own_effects.py`. An operation that is not known
changes what it uploads, and the units that it starts and stops; that is all that its commands say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api import FileUploadCommand, StringCommand
from pyinfra.facts import files as file_facts

from smallfleet.plan.overlay import Node, Overlay

Command = Any  # StringCommand, FileUploadCommand, …
Ask = Callable[..., Any]


@dataclass
class Write:
    """A file that an operation writes or removes. `hidden`: its text is nobody's to see."""

    path: str
    node: Node
    hidden: bool = False
    old: list[str] | None = None  # its lines before; None where there was no file, or where they are hidden


@dataclass
class Change:
    """One operation that will change something: what it is given, and what is found out about it."""

    arguments: dict[str, Any]
    commands: Sequence[Command]
    overlay: Overlay
    ask: Ask  # facts as they will be when the operation runs
    writes: list[Write] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)  # (what is done, to what), for people

    def write(self, path: str, node: Node, hidden: bool = False) -> None:
        self.writes.append(Write(path, node, hidden))

    def uploads(self) -> dict[str, bytes]:
        """{path: content} of what the commands upload."""
        return {
            command.dest: content_of(command.src)
            for command in self.commands
            if isinstance(command, FileUploadCommand)
        }

    def text(self) -> str:
        """The shell commands, secrets masked."""
        return "\n".join(str(command) for command in self.commands if isinstance(command, StringCommand))


Effect = Callable[[Change], None]
_effects: dict[Any, Effect] = {}


def changes(*operations: Any) -> Callable[[Effect], Effect]:
    """Register what an operation changes."""

    def register(function: Effect) -> Effect:
        _effects.update({operation._inner: function for operation in operations})
        return function

    return register


def found_by_name(name: str) -> Callable[[Effect], Effect]:
    """The same for an operation that is not imported: "smallfleet.operations.secrets.file"."""

    def register(function: Effect) -> Effect:
        _effects[name] = function
        return function

    return register


def find_out(function: Any, change: Change) -> None:
    """Fill `change` in, and leave in its overlay what the operation `function` will have changed."""
    _systemctl(change)
    known = _effects.get(function) or _effects.get(f"{function.__module__}.{function.__name__}")
    if known:
        known(change)
    else:
        for path, content in change.uploads().items():
            change.write(path, Node("file", content))
    for write in change.writes:
        if not write.hidden:
            write.old = change.ask(file_facts.FileContents, path=write.path)
        change.overlay.put(write.path, write.node)


def content_of(source: Any) -> bytes:
    """The bytes of a FileUploadCommand's source: a path, or a file in memory, which is left as it was."""
    if isinstance(source, str | Path):
        return Path(source).read_bytes()
    at = source.tell()
    source.seek(0)
    content = source.read()
    source.seek(at)
    return content.encode() if isinstance(content, str) else content


# Units, by whatever operation: systemctl's words.

_VERBS = "start|stop|restart|reload|try-restart|reload-or-restart|try-reload-or-restart|enable|disable"
_UNITS = rf"systemctl (?:-\S+ )*({_VERBS})((?: [\w@.\\-]+)+)"
_WORDS = {
    "try-restart": "restart",
    "reload-or-restart": "reload",
    "try-reload-or-restart": "reload",
}


def _systemctl(change: Change) -> None:
    for verb, units in re.findall(_UNITS, change.text()):
        verb = _WORDS.get(verb, verb)
        for unit in units.split():
            if unit.startswith("-"):
                continue
            name = unit if "." in unit else f"{unit}.service"
            if (verb, name) not in change.effects:
                change.effects.append((verb, name))


def service(change: Change) -> None:
    """Units are as the commands leave them."""
    for verb, unit in change.effects:
        if verb in ("start", "stop"):
            change.overlay.unit(unit, running=verb == "start")
        if verb in ("enable", "disable"):
            change.overlay.unit(unit, enabled=verb == "enable")
        if verb in ("start", "restart"):
            change.overlay.restarted.add(unit)
            change.overlay.unit(unit, running=True)
