"""The same fleet in the lab: its end point, keys and files, and what is on the far side of the roles."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallfleet.model.roles import AppRole, Archive, MongodbRole, NginxRole

if TYPE_CHECKING:
    from smallfleet.model.fleet import Fleet


def in_lab(fleet: Fleet, name: str | None = None) -> Fleet:
    """`fleet` as it is in the lab `name`, its missing secrets made. `FleetError` if there is no such lab."""
    from smallfleet.lab.archive import SERIES
    from smallfleet.lab.descriptor import Lab
    from smallfleet.secrets import Secret, generate_missing

    lab = Lab.load(name)
    twin = fleet.model_copy(
        update={
            "ssh_keys": [Path(f"{lab.ssh_key}.pub")],
            "ssh_key": Path(lab.ssh_key),
            "end_point": lab.api,
            "secrets_file": Path(lab.secrets),
            "known_hosts": Path(lab.known_hosts),
        }
    )
    twin._secrets, twin._roles = None, None
    twin._token, twin._lab_name = Secret(lab.token), lab.name
    overrides: dict[str, dict[str, Any]] = copy.deepcopy(fleet.overrides)
    for role in twin.roles.values():
        own = overrides.setdefault(role.name, {})
        if isinstance(role, NginxRole):
            own["tls"] = {"directory": lab.acme, "email": f"owner@{fleet.domain}"}
        elif isinstance(role, MongodbRole):
            own["version"] = "6.0"  # what the lab's archive has
            # The lab's archive is laid out as MongoDB's own, and has one version of the server alone.
            defaults = Archive().model_dump(include={"suite", "component", "packages"})
            own["version"] = SERIES
            own["archive"] = {**defaults, "url": lab.mongodb_archive, "key": lab.mongodb_key}
        elif isinstance(role, AppRole) and role.app:
            own["app"] = {**own.get("app", {}), "repository": f"{lab.git}{role.name}.git"}
    twin.overrides = {role: values for role, values in overrides.items() if values}
    twin._roles = None
    generate_missing(twin)
    return twin
