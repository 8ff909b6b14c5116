"""Facts as they will be answered once the operations before have run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pyinfra.facts import apt, deb, files, server, systemd

from smallfleet.facts.drift import NftDrift, People
from smallfleet.facts.files import Directories, FileState, FileStates
from smallfleet.facts.mongodb import Member, MongodbSet, MongodbUsers
from smallfleet.facts.nginx import NginxCertificates, NginxFiles
from smallfleet.facts.release import ReleaseStatus
from smallfleet.facts.system import NftTables, Outdated
from smallfleet.facts.tls import Certificates
from smallfleet.facts.units import UnitStates
from smallfleet.plan.overlay import Node, Overlay

Arguments = dict[str, Any]  # the fact's, by name
Ask = Callable[..., Any]  # a fact as it is now: ask(File, path="/etc/hosts")
Answer = Callable[[Overlay, Arguments, Callable[[], Any], Ask], Any]

_answers: dict[Any, Answer] = {}


def answers(*facts: type) -> Callable[[Answer], Answer]:
    """Register how a fact is answered. `now()` is the fact as it is on the droplet."""

    def register(function: Answer) -> Answer:
        _answers.update(dict.fromkeys(facts, function))
        return function

    return register


def answer(fact: type, overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    """The fact as it will be."""
    function = _answers.get(fact) or _answers.get(f"{fact.__module__}.{fact.__name__}")
    return function(overlay, arguments, now, ask) if function else now()


# Files.

_FAR = timedelta(minutes=1)


def _stat(node: Node) -> dict[str, Any]:
    later = datetime.now(UTC).replace(tzinfo=None) + _FAR  # as pyinfra has it: UTC without a zone
    found = {"user": node.user, "group": node.group, "mode": node.mode, "size": len(node.content or b"")}
    found |= {"atime": later, "mtime": later, "ctime": later}
    return found | ({"link_target": node.target} if node.kind == "link" else {})


def _of_kind(kind: str) -> Answer:
    def of_kind(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
        node = overlay.node(arguments["path"])
        if node is None:
            return now()
        # Where it is only known that something in it will be there, it may be there already.
        implied = node.kind == "directory" and arguments["path"].rstrip("/") not in overlay.paths
        if implied and (there := now()) is not None:
            return there
        if node.kind == "absent":
            return None
        return _stat(node) if node.kind == kind else False

    return of_kind


_answers |= {
    files.File: _of_kind("file"),
    files.Directory: _of_kind("directory"),
    files.Link: _of_kind("link"),
}


def _hashed(algorithm: str) -> Answer:
    def hashed(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
        node = overlay.paths.get(arguments["path"])
        if node is None:
            return now()
        return node.digest(algorithm) if node.kind == "file" and node.content is not None else None

    return hashed


_answers |= {
    files.Sha1File: _hashed("sha1"),
    files.Sha256File: _hashed("sha256"),
    files.Sha384File: _hashed("sha384"),
    files.Md5File: _hashed("md5"),
}


def lines_of(node: Node) -> list[str] | None:
    """The lines of a file as it will be; None where there will be none, or not of text."""
    if node.kind != "file" or node.content is None:
        return None
    return node.content.decode(errors="replace").splitlines()


@answers(files.FileContents)
def _contents(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    node = overlay.paths.get(arguments["path"])
    return now() if node is None else lines_of(node)


@answers(files.FindInFile)
def _find(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    node = overlay.paths.get(arguments["path"])
    if node is None:
        return now()
    lines = lines_of(node)
    return None if lines is None else [line for line in lines if re.search(arguments["pattern"], line)]


def _owned(node: Node) -> dict[str, str]:
    return {"user": node.user, "group": node.group, "mode": str(node.mode)}


@answers(FileState)
def _state(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    node = overlay.paths.get(arguments["path"])
    if node is None:
        return now()
    return {"sha256": node.digest("sha256"), **_owned(node)} if node.kind == "file" else None


@answers(FileStates)
def _states(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    nodes = {path: overlay.paths.get(path) for path in arguments["paths"]}
    there = {path: state for path, state in now().items() if nodes.get(path) is None}
    return there | {
        path: {"sha256": node.digest("sha256"), **_owned(node)}
        for path, node in nodes.items()
        if node and node.kind == "file"
    }


@answers(Directories)
def _directories(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    there = now()
    for path in arguments["paths"]:
        node = overlay.node(path)
        # Where it is only known that something in it will be there, it may be there already.
        implied = node is not None and path.rstrip("/") not in overlay.paths
        if node is None or (implied and path in there):
            continue
        there = {key: owned for key, owned in there.items() if key != path}
        if node.kind == "directory":
            there[path] = _owned(node)
    return there


@answers(server.AuthorizedKeys)
def _keys(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    node = overlay.paths.get(arguments.get("path") or "")
    return now() if node is None else server.AuthorizedKeys().process(lines_of(node) or [])


# Packages, people, units.


@answers(deb.DebPackages)
def _packages(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    there = dict(now())
    for name, present in overlay.packages.items():
        if present:
            there.setdefault(name, {"0"})
        else:
            there.pop(name, None)
    return there


@answers(apt.AptSources)
def _sources(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    return [*now(), *(apt.parse_apt_repo(line) for line in overlay.sources)]


@answers(server.Users)
def _users(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    return {**now(), **overlay.users}


@answers(server.Groups)
def _groups(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    there = list(now())
    return there + sorted(overlay.groups - set(there))


@answers(server.Home)
def _home(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    user = overlay.users.get(arguments.get("user") or "")
    return user["home"] if user else now()


@answers(People)
def _people(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    return {**dict.fromkeys((n for n, user in overlay.users.items() if _is_person(user)), True), **now()}


def _is_person(user: dict[str, Any]) -> bool:
    return str(user["home"]).startswith("/home/") and not str(user["shell"]).endswith("nologin")


def _units(key: str) -> Answer:
    def units(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
        there = dict(now())
        asked = arguments.get("services")
        for name, unit in overlay.units.items():
            state = getattr(unit, key)
            if state is not None and (
                asked is None or name in ([asked] if isinstance(asked, str) else asked)
            ):
                there[name] = state
        return there

    return units


_answers |= {systemd.SystemdStatus: _units("running"), systemd.SystemdEnabled: _units("enabled")}


@answers(UnitStates)
def _unit_states(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    there = {name: dict(state) for name, state in now().items()}
    for name in arguments["units"]:
        unit = overlay.units.get(name)
        for key in ("running", "enabled"):
            if unit and (will := getattr(unit, key)) is not None:
                there.setdefault(name, {"running": False, "enabled": False})[key] = will
    return there


def _value(name: str, together: Callable[[Any, Any], Any] = lambda there, new: new) -> Answer:
    def value(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
        return together(now(), overlay.values[name]) if name in overlay.values else now()

    return value


def _merged(there: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**there, **new}


_answers |= {
    server.Timezone: _value("timezone"),
    NftTables: _value("nft tables", lambda there, new: [*there, *(t for t in new if t not in there)]),
    NftDrift: _value("nft drift", _merged),
    NginxFiles: _value("nginx files"),
    NginxCertificates: _value("nginx certificates", _merged),
    Certificates: _value("certificates", _merged),
}


@answers(MongodbUsers)
def _mongodb_users(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    if "mongodb users" in overlay.values:
        return overlay.values["mongodb users"]
    there = now()
    started = overlay.units.get("mongod.service")
    if not there and started and started.running and ask(FileState, path=arguments["users"]):
        # It does not run now, so it cannot be asked: it has the users that were set before.
        return _Unchanged()
    return there


MEMBER = Member(state="SECONDARY", healthy=True, lag=0.0, votes=1, priority=1)  # of a set that is whole


@answers(MongodbSet)
def _mongodb_set(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    there = now()
    if "mongodb set" in overlay.values:
        return {**there, **overlay.values["mongodb set"]}
    started = overlay.units.get("mongod.service")
    if there["state"] == "silent" and started and started.running and ask(FileState, path=arguments["users"]):
        # It does not run now, so it cannot be asked: it is the member that it was before.
        said = json.loads("\n".join(ask(files.FileContents, path=arguments["set"]) or ["{}"]))
        return {
            **there,
            "state": "SECONDARY",
            "members": dict.fromkeys(said.get("members", []), MEMBER),
            "settings": said.get("settings", {}),
        }
    return there


class _Unchanged(dict[str, str]):
    def get(self, name: str, default: Any = None) -> Any:
        return "ok"


def _account(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    user = overlay.users.get(arguments["user"])
    return {key: user[key] for key in ("group", "home", "shell")} if user else now()


# Facts that are not imported, by name.
_answers["smallfleet.facts.accounts.SystemAccount"] = _account
_answers["smallfleet.facts.undo.UndoPending"] = _value("undo pending")


@answers(Outdated)
def _outdated(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    return False if arguments["service"] in overlay.restarted else now()


@answers(ReleaseStatus)
def _release(overlay: Overlay, arguments: Arguments, now: Callable[[], Any], ask: Ask) -> Any:
    from smallfleet.plan.releases import status

    return status(arguments["app"], overlay, dict(now()), ask)
