"""What systemd-nspawn needs of the machine, and what it leaves there."""

from __future__ import annotations

from pathlib import Path

from smallfleet.lab.descriptor import exclusive
from smallfleet.lab.run import run

STATE = Path("/run/systemd/nspawn")
SOURCE = "smallfleet"  # by this name the mount is known as ours


def allow_reboots() -> None:
    """Where /run is no tmpfs, nspawn refuses to reboot a container: give it one for its own directory."""
    if run("stat", "--file-system", "--format=%T", "/run").strip() == "tmpfs" or STATE.is_mount():
        return
    with exclusive():
        if not STATE.is_mount():
            STATE.mkdir(parents=True, exist_ok=True)
            run("mount", "-t", "tmpfs", "-o", "mode=0755,size=16m", SOURCE, str(STATE))


def withdraw() -> None:
    """Take that tmpfs away again; the last lab does."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, place, *_ = line.split()
        if source == SOURCE and place == str(STATE):
            run("umount", "--lazy", str(STATE), check=False)
