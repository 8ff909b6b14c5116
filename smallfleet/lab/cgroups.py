"""A control group for each droplet, on cgroup v1, v2 and the hybrid of both."""

from __future__ import annotations

import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def unified() -> bool:
    """Whether the machine has cgroup v2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def group_paths(lab: str, id: int) -> list[Path]:
    """The droplet's directory in each hierarchy that the machine has."""
    if unified():
        return [ROOT / "smallfleet" / lab / str(id)]
    hierarchies = [ROOT / name for name in ("memory", "pids", "cpu", "cpuacct", "systemd", "unified")]
    return [hierarchy / "smallfleet" / lab / str(id) for hierarchy in hierarchies if hierarchy.is_dir()]


def make(lab: str, id: int, memory: int) -> list[Path]:
    """Make the droplet's groups with a limit of `memory` MiB; returns the files that a process joins by."""
    paths = group_paths(lab, id)
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
        if unified():
            for parent in (ROOT, ROOT / "smallfleet", ROOT / "smallfleet" / lab):
                (parent / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    limit(lab, id, memory)
    return [path / "cgroup.procs" for path in paths]


def limit(lab: str, id: int, memory: int) -> None:
    """Set the droplet's memory limit, in MiB."""
    for path in group_paths(lab, id):
        for name in ("memory.limit_in_bytes", "memory.max"):
            if (path / name).exists():
                (path / name).write_text(str(memory * 1024 * 1024))


def processes(lab: str, id: int) -> set[int]:
    """The processes in the droplet's groups and below."""
    found: set[int] = set()
    for path in group_paths(lab, id):
        for file in path.rglob("cgroup.procs"):
            try:
                found.update(int(pid) for pid in file.read_text().split())
            except OSError:
                continue
    return found


def remove(lab: str, id: int) -> None:
    """Remove the droplet's groups once its last process is gone (waits at most 10 s for that), and empty parents."""
    end = time.monotonic() + 10
    while processes(lab, id) and time.monotonic() < end:
        time.sleep(0.02)
    for path in group_paths(lab, id):
        for group in sorted(path.rglob("*/"), key=lambda group: -len(group.parts)):
            if group.is_dir():
                _remove(group)
        for group in (path, path.parent, path.parent.parent):
            _remove(group)


def _remove(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:
        pass  # has other droplets' groups, or is gone
