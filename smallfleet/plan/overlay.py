"""What a droplet will be like once the operations before have run: what will change, over what is there.

A plan changes nothing, so the facts of a droplet stay what they were. An operation that is predicted to
change something leaves that here (`effects.py`), and the facts of the operations after it are answered from
here first (`answers.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["file", "directory", "link", "absent"]


@dataclass
class Node:
    """A path as it will be. `mode` is octal digits as pyinfra has them (644); `content` None: not known."""

    kind: Kind
    content: bytes | None = None
    user: str = "root"
    group: str = "root"
    mode: int = 644
    target: str | None = None

    def digest(self, algorithm: str) -> str:
        return hashlib.new(algorithm, self.content or b"").hexdigest()


@dataclass
class Unit:
    """A systemd unit as it will be; None: as it was."""

    running: bool | None = None
    enabled: bool | None = None


@dataclass
class Overlay:
    """What will have changed on one droplet."""

    paths: dict[str, Node] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    packages: dict[str, bool] = field(default_factory=dict)  # name: whether it will be there
    users: dict[str, dict[str, Any]] = field(default_factory=dict)  # as the fact Users has them
    groups: set[str] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)  # lines of apt's sources
    restarted: set[str] = field(default_factory=set)  # units that will have read their files anew
    values: dict[str, Any] = field(default_factory=dict)  # answers of facts as a whole, by name

    def put(self, path: str, node: Node) -> None:
        self.paths[path] = node

    def node(self, path: str) -> Node | None:
        """The path as it will be; None where nothing changes. What has something in it is a directory."""
        path = path.rstrip("/") or "/"
        if path in self.paths:
            return self.paths[path]
        if any(p.startswith(f"{path}/") and n.kind != "absent" for p, n in self.paths.items()):
            return Node("directory", mode=755)
        return None

    def under(self, directory: str) -> dict[str, Node]:
        return {path: node for path, node in self.paths.items() if path.startswith(f"{directory}/")}

    def unit(self, name: str, running: bool | None = None, enabled: bool | None = None) -> None:
        unit = self.units.setdefault(name if "." in name else f"{name}.service", Unit())
        unit.running = unit.running if running is None else running
        unit.enabled = unit.enabled if enabled is None else enabled
