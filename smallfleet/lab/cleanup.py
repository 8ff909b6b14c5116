"""Taking away what a lab has on the machine, also of one that was killed: it asks the system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from pathlib import Path

from smallfleet.lab import cgroups, kernel, nspawn
from smallfleet.lab.descriptor import LABS, RUNTIME, exclusive
from smallfleet.lab.run import run


def alive(name: str) -> bool:
    """Whether lab `name`'s daemon runs: it holds a lock for as long as it lives, however it ends."""
    try:
        with (RUNTIME / name / "daemon.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def daemon_pid(name: str) -> int | None:
    """The process id of a lab's daemon if it runs."""
    if not alive(name):
        return None
    with contextlib.suppress(OSError, ValueError):
        return int((RUNTIME / name / "daemon.pid").read_text())
    return None


def clear_leftovers() -> list[str]:
    """Clear all labs whose daemon is gone but whose runtime directory is there; returns their names."""
    names = [path.parent.name for path in RUNTIME.glob("*/daemon.lock") if not alive(path.parent.name)]
    for name in names:
        clear(name)
    return names


def clear(name: str) -> None:
    """Take away all that lab `name` has outside its directory; its daemon must not run."""
    runtime = RUNTIME / name
    cgroups.kill(name)
    listed = [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]
    for namespace in listed:
        if namespace == f"sf-{name}" or namespace.startswith(f"sf-{name}."):
            _kill_all_in(namespace)
            run("ip", "netns", "del", namespace, check=False)
    cgroups.remove(name)
    for place in sorted(_mounts_below(runtime), reverse=True):
        run("umount", "--lazy", place, check=False)
    with contextlib.suppress(OSError, ValueError):
        index = int((runtime / "index").read_text())
        run("ip", "link", "del", f"sf{index}", check=False)
        run("nft", "delete", "table", "inet", f"smallfleet{index}", check=False)
    for state in (nspawn.STATE / "propagate", nspawn.STATE / "unix-export"):
        for path in state.glob(f"{name}-[0-9]*"):
            with contextlib.suppress(OSError):
                path.rmdir()
    if not _mounts_below(runtime):
        shutil.rmtree(runtime, ignore_errors=True)


def remove_directory(name: str) -> None:
    """Remove a lab's directory with its droplets' disks."""
    shutil.rmtree(LABS / name, ignore_errors=True)
    for path in (LABS, LABS.parent):
        with contextlib.suppress(OSError):
            path.rmdir()


def withdraw_shared() -> None:
    """When no lab is left: give back the kernel's settings, and take away what labs share."""
    with exclusive():
        if any(RUNTIME.glob("*/daemon.lock")):
            return
        kernel.restore()
        nspawn.withdraw()
        cgroups.remove_top()
        with contextlib.suppress(OSError):
            RUNTIME.rmdir()


def _mounts_below(directory: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{directory}/")]


def _kill_all_in(namespace: str, seconds: float = 10) -> None:
    """Kill every process in a network namespace; returns when none is left (or after `seconds`)."""
    end = time.monotonic() + seconds
    while pids := run("ip", "netns", "pids", namespace, check=False).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > end:
            return
        time.sleep(0.02)
