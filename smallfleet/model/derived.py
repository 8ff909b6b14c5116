"""Values of a role that come from elsewhere: the fleet's domain, and the role uwsgi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smallfleet.model.roles import Role, UwsgiRole, defaults_for_apps

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet


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
