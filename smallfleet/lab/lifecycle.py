"""Starting and ending labs, from outside: checks, the daemon as a detached process, and its end."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import urllib3

from smallfleet.lab import cleanup, descriptor, image
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.errors import LabError

DEFAULT_IMAGE = "debian-12-x64"
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "sysctl": "procps",
    "dnsmasq": "dnsmasq-base",
    "pebble": "pebble",
    "apt-ftparchive": "apt-utils",
    "gpg": "gnupg",
    "git": "git",
    "ssh-keygen": "openssh-client",
}


def check_machine() -> None:
    """Raise `LabError` with one sentence and how to mend it, if no lab can run here."""
    if platform.system() != "Linux":
        raise LabError("The lab's droplets are Linux containers: it runs on Linux only.")
    if os.geteuid() != 0:
        raise LabError(
            "The lab makes containers and networks, which needs root. Run it with sudo, or as root."
        )
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(f"The lab needs some packages. Install them: apt-get install -y {' '.join(missing)}")
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        done = subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
        if done.returncode:
            raise LabError(
                "This kernel has no overlayfs, which the droplets' disks need. Use one that has it."
            )
    if not Path("/sys/fs/cgroup").is_mount():
        raise LabError(
            "/sys/fs/cgroup is not mounted: the lab needs cgroups (v1 or v2) to limit droplets' memory."
        )


def up(name: str, say: Callable[[str], None]) -> Lab:
    """Start lab `name` (new or kept) unless it runs; returns when its API and far side answer."""
    descriptor.check_name(name)
    descriptor.firmware()
    descriptor.droplet_limit()
    check_machine()
    with descriptor.exclusive():
        for left in cleanup.clear_leftovers():
            say(f"cleared what lab {left} had left behind")
        if cleanup.alive(name):
            say(f"lab {name} is up already")
            return Lab.load(name)
        lab = descriptor.make(name)
    image.root(DEFAULT_IMAGE, say)
    say(f"starting lab {name}")
    log = lab.path / "lab.log"
    with log.open("ab") as output:
        begins = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "smallfleet.lab.daemon", name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    try:
        _wait_for_api(lab, process, log, begins)
    except BaseException:
        _end(process.pid, lambda: process.poll() is not None, seconds=90)
        cleanup.clear(name)
        cleanup.withdraw_shared()
        raise
    return lab


def down(name: str, keep: bool) -> None:
    """End lab `name` and remove all of it; `keep` leaves its directory, to be started again."""
    descriptor.check_name(name)
    if os.geteuid() != 0:
        raise LabError("Ending a lab needs root. Run it with sudo, or as root.")
    pid = cleanup.daemon_pid(name)
    if pid is None and not (descriptor.RUNTIME / name).exists():
        Lab.load(name)  # raises if there is none
    if pid is not None:
        if not keep:
            (descriptor.RUNTIME / name / "discard").touch()
        _end(pid, lambda: not (cleanup.alive(name) or _runs(pid)), seconds=120 if keep else 30)
    with descriptor.exclusive():
        cleanup.clear(name)
        if not keep:
            cleanup.remove_directory(name)
    cleanup.withdraw_shared()


def _wait_for_api(
    lab: Lab, process: subprocess.Popen[bytes], log: Path, begins: int, seconds: float = 900
) -> None:
    """Wait until the API answers; the far side is up before it. The first start may have to make packages."""
    end = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {lab.token}"}
    with urllib3.PoolManager(retries=False, timeout=5) as pool:
        while True:
            try:
                if pool.request("GET", f"{lab.api}account", headers=headers).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                words = log.read_bytes()[begins:].decode(errors="replace").strip()[-2000:]
                raise LabError(f"Lab {lab.name} did not start. The end of {log}:\n{words}")
            time.sleep(0.1)


def _runs(pid: int) -> bool:
    """Whether the process is still there, and not only its status for whoever started it."""
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def _end(pid: int, ended: Callable[[], bool], seconds: float) -> None:
    """Ask a daemon to end; one that has not within `seconds` is killed."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + patience
        while not ended() and time.monotonic() < end:
            time.sleep(0.05)
        if ended():
            return
