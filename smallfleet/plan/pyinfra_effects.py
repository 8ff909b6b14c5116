"""What pyinfra's own operations change, those that deploys use."""

from __future__ import annotations

import re
from typing import Any

from pyinfra.facts import files as file_facts
from pyinfra.facts import server as server_facts
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, files, server, systemd

from smallfleet.operations import packages
from smallfleet.plan.effects import Change, changes, found_by_name, service
from smallfleet.plan.overlay import Node, Overlay
from smallfleet.plan.packages import Brought, brought_by

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


@changes(apt.packages, packages.installed)
def _packages(change: Change) -> None:
    if "apt-get update" in change.text():
        _update(change)
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
