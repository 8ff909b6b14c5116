"""What an operation changes, beside the commands that it runs: left in the overlay for the facts after it.

pyinfra's own operations are here, ours in `own_effects.py`. An operation that is not known changes what it
uploads, and the units that it starts and stops; that is all that can be read from its commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api import FileUploadCommand, StringCommand
from pyinfra.facts import files as file_facts
from pyinfra.facts import server as server_facts
from pyinfra.operations import apt, files, server, systemd

from smallfleet.plan.overlay import Node, Overlay
from smallfleet.plan.packages import Brought, brought_by

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


changes(systemd.service, server.service)(service)


@changes(systemd.daemon_reload)
def _daemon_reload(change: Change) -> None:
    change.effects.append(("reload", "systemd's units"))


# Files.


@changes(files.put, files.template)
def _put(change: Change) -> None:
    path = change.arguments["dest"]
    there = change.ask(file_facts.File, path=path) or {}
    uploads = change.uploads()
    content = uploads.get(path)
    if content is None and there:  # only its owner or its mode
        now = change.ask(file_facts.FileContents, path=path)
        content = "".join(f"{line}\n" for line in now or []).encode()
    mode = change.arguments.get("mode")
    node = Node(
        "file",
        content,
        user=change.arguments.get("user") or there.get("user", "root"),
        group=change.arguments.get("group") or there.get("group", "root"),
        mode=int(str(mode)) if str(mode).isdigit() else there.get("mode", 644),
    )
    change.write(path, node, hidden=not node.mode % 10)


@changes(files.directory)
def _directory(change: Change) -> None:
    path = change.arguments["path"].rstrip("/")
    if not change.arguments.get("present", True):
        change.overlay.put(path, Node("absent"))
        return
    there = change.ask(file_facts.Directory, path=path) or {}
    mode = change.arguments.get("mode")
    change.overlay.put(
        path,
        Node(
            "directory",
            user=change.arguments.get("user") or there.get("user", "root"),
            group=change.arguments.get("group") or there.get("group", "root"),
            mode=int(mode) if mode else there.get("mode", 755),
        ),
    )


@changes(files.link)
def _link(change: Change) -> None:
    there = change.arguments.get("present", True)
    target = change.arguments.get("target")
    change.overlay.put(
        change.arguments["path"], Node("link", target=target, mode=777) if there else Node("absent")
    )


@changes(files.line)
def _line(change: Change) -> None:
    path, line = change.arguments["path"], change.arguments["line"]
    _write_line(change, path, line, change.arguments.get("replace"), change.arguments.get("present", True))


def _write_line(change: Change, path: str, line: str, replace: str | None, present: bool) -> None:
    now = change.ask(file_facts.FileContents, path=path) or []
    pattern = re.compile(f"^.*{line}.*$" if not line.startswith("^") else line)
    found = [entry for entry in now if pattern.search(entry)]
    if not present:
        new = [entry for entry in now if entry not in found]
    elif found:
        new = [(replace or entry) if entry in found else entry for entry in now]
    else:
        new = [*now, replace or line]
    change.write(path, Node("file", "".join(f"{entry}\n" for entry in new).encode()))


@changes(files.download)
def _download(change: Change) -> None:
    mode = change.arguments.get("mode")
    node = Node("file", None, mode=int(mode) if mode else 644)
    change.overlay.put(change.arguments["dest"], node)
    change.effects.append(("download", str(change.arguments["src"])))


# Packages.


@changes(apt.update)
def _update(change: Change) -> None:
    change.overlay.put(apt.APT_UPDATE_FILENAME, Node("file", b""))


@changes(apt.repo)
def _repo(change: Change) -> None:
    line = change.arguments["src"]
    name = change.arguments.get("filename")
    path = f"/etc/apt/sources.list.d/{name}.list" if name else "/etc/apt/sources.list"
    _write_line(change, path, re.escape(line), line, change.arguments.get("present", True))
    change.overlay.sources.append(line)


@changes(apt.packages)
def _packages(change: Change) -> None:
    if "apt-get update" in change.text():
        _update(change)
    from pyinfra.facts.deb import DebPackages

    wanted = change.arguments.get("packages") or []
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    there = change.ask(DebPackages)
    if not change.arguments.get("present", True):
        gone = [name for name in wanted if name in there]
        change.overlay.packages.update(dict.fromkeys(gone, False))
        change.effects += [("remove", f"the package {name}") for name in gone]
        return
    missing = [name for name in wanted if name not in there]
    change.effects += [("install", f"the package {name}") for name in missing]
    for name in missing:
        bring(change.overlay, brought_by(name), there)
        change.overlay.packages[name] = True


def bring(overlay: Overlay, brought: Brought, there: Any) -> None:
    """Leave what a package brings: other packages, units, users, paths. What a package has left stays."""
    for name in brought.packages:
        if name not in there:
            overlay.packages[name] = True
    for unit, (running, enabled) in brought.units.items():
        overlay.unit(unit, running, enabled)
    for name, home in brought.users.items():
        overlay.users[name] = {"home": home, "shell": "/usr/sbin/nologin", "group": name, "groups": []}
        overlay.groups.add(name)
    for path, node in brought.paths.items():
        if path not in overlay.paths:
            overlay.put(path, node)


# People.


@changes(server.group)
def _group(change: Change) -> None:
    change.overlay.groups.add(change.arguments["group"])


@changes(server.user)
@found_by_name("smallfleet.operations.guarded.user")
def _user(change: Change) -> None:
    said = change.arguments
    name = said["user"]
    there = change.ask(server_facts.Users).get(name)
    group = said.get("group") or (there or {}).get("group") or name
    home = said.get("home") or (there or {}).get("home") or f"/home/{name}"
    user = dict(there or {"comment": said.get("comment"), "uid": 0, "gid": 0, "password": "!"})
    user |= {"home": home, "shell": said.get("shell") or user.get("shell"), "group": group}
    user["groups"] = said.get("groups") or user.get("groups") or []
    change.overlay.users[name] = user
    change.overlay.groups.add(group)
    if said.get("ensure_home", True):
        mode = (change.ask(file_facts.Directory, path=home) or {}).get("mode", 755)
        change.overlay.put(home, Node("directory", user=name, group=group, mode=mode))
    if said.get("public_keys") is not None:
        keys = f"{home}/.ssh/authorized_keys"
        change.overlay.put(f"{home}/.ssh", Node("directory", user=name, group=group, mode=700))
        content = change.uploads().get(keys)
        if content is not None:
            change.write(keys, Node("file", content, name, group, 600))
    if there is None:
        change.effects.append(("create", f"the user {name}"))


@changes(server.timezone)
def _timezone(change: Change) -> None:
    change.overlay.values["timezone"] = change.arguments["timezone"]
