"""What packages bring that operations after their installation ask for: units, users, files.

Of each package that the deploys install; seen on a fresh Debian 12. A package that is not here brings itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smallfleet.plan.overlay import Node


@dataclass(frozen=True)
class Brought:
    packages: tuple[str, ...] = ()
    units: dict[str, tuple[bool, bool]] = field(default_factory=dict)  # name: (running, enabled)
    users: dict[str, str] = field(default_factory=dict)  # name: home
    paths: dict[str, Node] = field(default_factory=dict)


_BROUGHT = {
    "nginx": Brought(
        units={"nginx.service": (True, True)},
        paths={
            "/etc/nginx/sites-enabled/default": Node(
                "link", target="/etc/nginx/sites-available/default", mode=777
            )
        },
    ),
    "certbot": Brought(units={"certbot.timer": (True, True)}),
    "mongodb-org-server": Brought(
        units={"mongod.service": (False, False)}, users={"mongodb": "/home/mongodb"}
    ),
    "systemd-timesyncd": Brought(units={"systemd-timesyncd.service": (True, True)}),
    "nftables": Brought(units={"nftables.service": (False, False)}),
    "git": Brought(packages=("git-man",)),
    "curl": Brought(packages=("libcurl4",)),
}


def brought_by(package: str) -> Brought:
    return _BROUGHT.get(package, Brought())
