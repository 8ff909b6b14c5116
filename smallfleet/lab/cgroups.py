"""Cgroups of droplets, on machines with cgroup v1 (hybrid) and on those with v2. One group: `LAB/ID`."""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path

TREE = Path("/sys/fs/cgroup")
TOP = "smallfleet"
# Of a hybrid machine, every hierarchy that systemd in a droplet writes to. It keeps its units in `unified`:
# droplets that share a group there remove each other's units' groups, at times just as a process enters.
V1 = ("unified", "systemd", "memory", "cpu", "cpuacct", "blkio", "pids")


def unified() -> bool:
    """Whether the machine has cgroup v2 alone."""
    return (TREE / "cgroup.controllers").exists()


def directories(group: str) -> list[Path]:
    """Where `group` is, in each hierarchy that the machine has."""
    if unified():
        return [TREE / TOP / group]
    return [TREE / name / TOP / group for name in V1 if (TREE / name / "cgroup.procs").exists()]


def limit(group: str, memory: int, vcpus: int) -> None:
    """Make `group` with `memory` MiB and the time of `vcpus` processors, or change its limits."""
    for directory in directories(group):
        directory.mkdir(parents=True, exist_ok=True)
    if unified():
        for parent in (TREE, TREE / TOP, (TREE / TOP / group).parent):
            (parent / "cgroup.subtree_control").write_text("+memory +cpu +pids")
        _write(TREE / TOP / group / "memory.max", str(memory << 20))
        _write(TREE / TOP / group / "cpu.max", f"{vcpus * 100000} 100000")
    else:
        _write(TREE / "memory" / TOP / group / "memory.limit_in_bytes", str(memory << 20))
        _write(TREE / "cpu" / TOP / group / "cpu.cfs_quota_us", str(vcpus * 100000))


def entering(group: str, command: list[str]) -> list[str]:
    """`command` with a shell before it that moves itself into `group` and then becomes it."""
    # systemd outside of the group removes what is empty in hierarchies that it has no use for: make it again.
    places = [shlex.quote(str(directory)) for directory in directories(group)]
    moves = "".join(f"mkdir -p {place} && echo $$ > {place}/cgroup.procs && " for place in places)
    return ["sh", "-c", moves + 'exec "$@"', "sh", *command]


def processes(group: str) -> set[int]:
    """All processes in `group` and below."""
    found: set[int] = set()
    for top in directories(group):  # all: systemd in the droplet may leave one of them
        for path in [top / "cgroup.procs", *top.rglob("cgroup.procs")]:
            try:
                found.update(int(pid) for pid in path.read_text().split())
            except OSError:  # the group went away meanwhile
                continue
    return {pid for pid in found - {0, os.getpid()} if not _dead(pid)}


def _dead(pid: int) -> bool:
    """Whether a process is gone, or waits for its parent to notice (which may take its time)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def kill(group: str, seconds: float = 10) -> None:
    """Kill all in `group`; returns when nothing is left in it (or after `seconds`)."""
    end = time.monotonic() + seconds
    while pids := processes(group):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > end:
            return
        time.sleep(0.01)


def clear(group: str) -> None:
    """Remove what a boot left below `group`, once it is empty: the next boot finds it as the first did."""
    for top in directories(group):
        for path in sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True):
            _rmdir(path)
        # nspawn hands v2's controllers on to groups below; until that is undone no process may enter `group`.
        handed = top / "cgroup.subtree_control"
        for controller in handed.read_text().split() if handed.exists() else ():
            handed.write_text(f"-{controller}")


def remove(group: str) -> None:
    """Remove `group` with all below it, once it is empty."""
    clear(group)
    for top in directories(group):
        _rmdir(top)


def remove_top() -> None:
    """Remove the group of all labs if no lab is left in it."""
    for top in directories(""):
        _rmdir(top)


def _write(path: Path, text: str) -> None:
    """Set a limit; a kernel that lacks this one has no such file."""
    if path.exists():
        path.write_text(text)


def _rmdir(path: Path) -> None:
    end = time.monotonic() + 2
    while path.exists():
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > end:
                return
            time.sleep(0.02)
