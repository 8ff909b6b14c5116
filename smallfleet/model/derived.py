"""Values of a role that come from elsewhere: the fleet's domain and image, and the role uwsgi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smallfleet.model.roles import Archive, MongodbRole, Role, UwsgiRole, defaults_for_apps

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet

CODENAMES = {"debian-12": "bookworm", "debian-13": "trixie", "ubuntu-22": "jammy", "ubuntu-24": "noble"}


def app_values(fleet: Fleet, data: dict[str, Any], roles: dict[str, Role]) -> dict[str, Any]:
    """An app's values with {domain} filled in, and the role uwsgi's where its own `uwsgi:` is silent."""
    values = dict(data)
    if isinstance(values.get("domain"), str):
        values["domain"] = values["domain"].replace("{domain}", fleet.domain)
    if isinstance(values.get("aliases"), list):
        values["aliases"] = [
            alias.replace("{domain}", fleet.domain) if isinstance(alias, str) else alias
            for alias in values["aliases"]
        ]
    uwsgi = roles.get("uwsgi")
    own = values.get("uwsgi")
    if values.get("app") is not None and isinstance(uwsgi, UwsgiRole) and isinstance(own, dict | None):
        values["uwsgi"] = {**defaults_for_apps(uwsgi), **(own or {})}
    return values


def mongodb_values(fleet: Fleet, data: dict[str, Any]) -> dict[str, Any]:
    """MongoDB's values with {os}, {codename} and {version} filled in, and the system's component."""
    archive = data.get("archive", {})
    if not isinstance(archive, dict):
        return data
    system = fleet.image.split("-")[0]
    words = {
        "{os}": system,
        "{codename}": CODENAMES.get("-".join(fleet.image.split("-")[:2]), "unknown"),
        "{version}": str(data.get("version", MongodbRole.model_fields["version"].default)),
    }
    filled = {**{key: Archive.model_fields[key].default for key in ("url", "key", "suite")}, **archive}
    for key in ("url", "key", "suite"):
        for word, value in words.items():
            if isinstance(filled[key], str):
                filled[key] = filled[key].replace(word, value)
    if filled.get("component") is None:
        filled["component"] = "multiverse" if system == "ubuntu" else "main"
    return {**data, "archive": filled}
