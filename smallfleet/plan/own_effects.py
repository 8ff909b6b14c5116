"""What our own operations change."""

from __future__ import annotations

from typing import Any

from smallfleet.facts.drift import HeldPackages, NftDrift, People, StrayDropIns
from smallfleet.facts.files import FileStates
from smallfleet.facts.mongodb import MongodbSet
from smallfleet.facts.nginx import DIRECTORY, NginxCertificates, NginxFiles
from smallfleet.facts.tls import LIVE, Certificates
from smallfleet.operations import (
    checked,
    drift,
    mongodb,
    names,
    nftables,
    nginx,
    release,
    secrets,
    several,
    tls,
    uv,
)
from smallfleet.plan.answers import MEMBER
from smallfleet.plan.effects import Change, changes, found_by_name, service
from smallfleet.plan.overlay import Node


def _mode(arguments: dict[str, Any], default: str) -> int:
    return int(arguments.get("mode", default).lstrip("0"))


@changes(checked.file)
def _checked(change: Change) -> None:
    node = Node("file", change.arguments["content"].encode(), mode=_mode(change.arguments, "0644"))
    change.write(change.arguments["dest"], node)
    service(change)  # by the command that makes it live


def _write_differing(change: Change, files: dict[str, str], mode: str) -> None:
    there = change.ask(FileStates, paths=list(files))
    for path, text in files.items():
        if there.get(path) != several.wanted(text, mode):
            change.write(path, Node("file", text.encode(), mode=int(mode)))


@changes(several.files)
def _files(change: Change) -> None:
    _write_differing(change, change.arguments["files"], change.arguments["mode"])


@changes(several.directories)
def _directories(change: Change) -> None:
    said = change.arguments
    for path in said["paths"]:
        node = Node("directory", user=said["user"], group=said["group"], mode=_mode(said, "755"))
        change.overlay.put(path.rstrip("/"), node)


@found_by_name("smallfleet.operations.units.units")
def _units(change: Change) -> None:
    units = change.arguments["units"]
    _write_differing(change, {f"/etc/systemd/system/{unit}": text for unit, text in units.items()}, "644")
    change.effects.append(("reload", "systemd's units"))


@found_by_name("smallfleet.operations.units.kept")
def _kept(change: Change) -> None:
    service(change)


@found_by_name("smallfleet.operations.accounts.system")
def _account(change: Change) -> None:
    name, home = change.arguments["user"], change.arguments["home"]
    shell = "/usr/sbin/nologin"
    change.overlay.users[name] = {"home": home, "shell": shell, "group": name, "groups": []}
    change.overlay.groups.add(name)
    change.effects.append(("create", f"the user {name}"))


@found_by_name("smallfleet.operations.guarded.settled")
def _settled(change: Change) -> None:
    change.overlay.values["undo pending"] = None
    change.effects.append(("undo", "a change that an earlier run has not confirmed"))


@changes(secrets.file)
def _secret(change: Change) -> None:
    said = change.arguments
    content = said["content"]
    text = content if isinstance(content, str) else content.reveal()
    node = Node(
        "file", text.encode(), said.get("user", "root"), said.get("group", "root"), _mode(said, "0400")
    )
    change.write(said["dest"], node, hidden=True)


@changes(nftables.ruleset)
def _ruleset(change: Change) -> None:
    if change.uploads():
        change.write(nftables.DEST, Node("file", change.arguments["content"].encode()))
    change.overlay.values["nft tables"] = [change.arguments["table"]]
    change.overlay.values["nft drift"] = {"differs": False}
    change.effects.append(("reload", "the firewall"))


@changes(nginx.placeholders)
def _placeholders(change: Change) -> None:
    there = change.ask(NginxCertificates)
    made = {
        name: f"{nginx.PLACEHOLDER}/fullchain.pem"
        for name in change.arguments["domains"]
        if name not in there
    }
    change.overlay.values["nginx certificates"] = {
        **change.overlay.values.get("nginx certificates", {}),
        **made,
        **({} if "placeholder" in there else {"placeholder": ""}),
    }


@changes(nginx.configured)
def _nginx(change: Change) -> None:
    wanted = change.arguments["files"]
    for path in sorted({*change.ask(NginxFiles), *wanted}):
        dest = f"{DIRECTORY}/{path}"
        if path not in wanted:
            change.write(dest, Node("absent"))
        elif change.ask(NginxFiles).get(path) != Node("file", wanted[path].encode()).digest("sha256"):
            change.write(dest, Node("file", wanted[path].encode()))
    change.overlay.values["nginx files"] = {
        path: Node("file", text.encode()).digest("sha256") for path, text in wanted.items()
    }
    change.overlay.unit("nginx.service", running=True)  # it is started where it does not run
    change.effects[:] = [("reload", "nginx.service")]  # what else the commands have is for when that fails


@changes(tls.certificate)
def _certificate(change: Change) -> None:
    said = change.arguments
    name, domains = said["lineage"], list(said["domains"])
    there = change.ask(Certificates).get(name)
    if there is None or there["server"] != said["server"] or set(there["domains"]) != set(domains):
        change.effects.append(("issue", f"a certificate for {', '.join(domains)}"))
    new = {name: {"server": said["server"], "domains": domains}}
    change.overlay.values["certificates"] = {**change.overlay.values.get("certificates", {}), **new}
    links = {domains[0]: f"{LIVE}/{name}/fullchain.pem"}
    change.overlay.values["nginx certificates"] = {
        **change.overlay.values.get("nginx certificates", {}),
        **links,
    }
    change.effects.append(("reload", "nginx.service"))


@changes(tls.no_certificate)
def _no_certificate(change: Change) -> None:
    domain = change.arguments["domain"]
    change.overlay.values["nginx certificates"] = {
        **change.overlay.values.get("nginx certificates", {}),
        domain: f"{nginx.PLACEHOLDER}/fullchain.pem",
    }
    change.effects[:] = [("forget", f"the certificate for {domain}"), ("reload", "nginx.service")]


@changes(names.lead_here)
def _lead_here(change: Change) -> None:
    change.effects += [("point", f"{name} to this droplet") for name in change.arguments["names"]]


@changes(uv.venv)
def _venv(change: Change) -> None:
    _write_venv(change, change.arguments["path"], change.arguments["requirements"].read_bytes())


def _write_venv(change: Change, path: str, content: bytes) -> None:
    change.write(f"{path}/requirements.txt", Node("file", content))
    change.overlay.put(f"{path}/bin/uv", Node("file", None, mode=755))


@changes(uv.installed)
def _uv(change: Change) -> None:
    uploads = change.uploads()
    if (requirements := uploads.get(f"{uv.HOME}.requirements.txt")) is not None:
        _write_venv(change, uv.HOME, requirements)
    change.overlay.put(uv.PROGRAM, Node("link", target=f"{uv.HOME}/bin/uv", mode=777))
    _write_differing(change, uv.configuration(), "644")


@changes(mongodb.users)
def _mongodb_users(change: Change) -> None:
    users = change.arguments["users"]
    change.overlay.values["mongodb users"] = {user.name: "ok" for user in users}
    content = next(iter(change.uploads().values()), b"")
    change.write(mongodb.USERS, Node("file", content, mode=400), hidden=True)
    change.effects.append(("set", f"MongoDB's users {', '.join(user.name for user in users)}"))


@changes(mongodb.restarted)
def _mongodb_restarted(change: Change) -> None:
    service(change)


@changes(mongodb.begun)
def _mongodb_begun(change: Change) -> None:
    # With this member alone; the others are taken in after that.
    spec = change.arguments["spec"]
    found = {"state": "PRIMARY", "members": {spec["me"]: MEMBER}, "settings": spec["settings"]}
    change.overlay.values["mongodb set"] = found
    change.effects.append(("begin", "MongoDB's set"))


@changes(mongodb.joined)
def _mongodb_joined(change: Change) -> None:
    spec = change.arguments["spec"]
    there = change.ask(MongodbSet, **mongodb.SET_FACT)["members"]
    change.overlay.values["mongodb set"] = {
        "members": {**there, **dict.fromkeys(spec["members"], MEMBER)},
        "settings": spec["settings"],
    }
    change.effects.append(("take", f"{', '.join(spec['names'].values())} into MongoDB's set"))


@changes(mongodb.left)
def _mongodb_left(change: Change) -> None:
    there = change.ask(MongodbSet, **mongodb.SET_FACT)["members"]
    out = sorted(set(there) - set(change.arguments["spec"]["members"]))
    change.effects.append(("take", f"{', '.join(out)} out of MongoDB's set"))


@changes(release.deployed)
def _release(change: Change) -> None:
    change.effects.append(("release", change.arguments["app"]))


@changes(drift.nothing_held)
def _held(change: Change) -> None:
    change.effects += [("unhold", f"the package {name}") for name in change.ask(HeldPackages)]


@changes(drift.people)
def _people(change: Change) -> None:
    for name, may in change.ask(People).items():
        if may != (name in change.arguments["users"]):
            change.effects.append(("lock" if may else "let in", f"the user {name}"))


@changes(drift.no_stray_dropins)
def _dropins(change: Change) -> None:
    for path in change.ask(StrayDropIns, units=change.arguments["units"]):
        change.write(path, Node("absent"))
    change.effects.append(("reload", "systemd's units"))


@changes(drift.only_these_rules)
def _rules(change: Change) -> None:
    found = change.ask(NftDrift, file=change.arguments["file"], table=change.arguments["table"])
    if found["differs"]:
        change.effects.append(("reload", "the firewall"))
    change.effects += [("delete", f"the nftables table {name}") for name in found["strays"]]
