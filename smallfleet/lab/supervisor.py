"""One supervisor per droplet: it runs systemd-nspawn, again after each reboot, until the droplet is off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from smallfleet.lab import cgroups
from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

REBOOT = 133  # nspawn's exit status with --keep-unit when the container asked for a reboot
POWEROFF_SIGNAL = signal.SIGRTMIN + 4  # systemd as PID 1: poweroff.target
REBOOT_SIGNAL = signal.SIGRTMIN + 5


class Supervisor:
    """Keeps one droplet running. `root` is its mounted root, `group` its cgroup, `log` its console's file,
    `firmware` the seconds between a reboot's end of the old system and the begin of the new one."""

    def __init__(
        self,
        machine: str,
        hostname: str,
        root: Path,
        namespace: str,
        group: str,
        log: Path,
        firmware: float = 0.0,
    ) -> None:
        self.machine = machine
        self.firmware = firmware
        self.root = root
        self.namespace = namespace
        self.group = group
        self.log = log
        self.boots = 0
        self._command = [
            "systemd-nspawn",
            "--register=no",
            "--keep-unit",
            "--quiet",
            f"--directory={root}",
            f"--machine={machine}",
            f"--hostname={hostname}",
            "--capability=CAP_NET_ADMIN",
            "--system-call-filter=@memlock",  # mongod locks its keys in memory
            f"--network-namespace-path=/run/netns/{namespace}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--boot",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._fault = ""

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Switch on; returns when systemd runs as PID 1. Raises `LabError` if it does not come to that."""
        if self.running:
            return
        self._stopping = False
        self._fault = ""
        before = self.boots
        self._thread = threading.Thread(target=self._loop, name=self.machine, daemon=True)
        self._thread.start()
        if not self._wait(
            lambda: (self.boots > before and self._leader() is not None) or not self.running, 30
        ):
            self.power_off()
            raise LabError(f"{self.machine} did not boot within 30 s; its console is in {self.log}")
        if not self.running:
            raise LabError(f"{self.machine} did not start: {self._fault or 'see ' + str(self.log)}")

    def shutdown(self, seconds: float = 60) -> None:
        """Ask systemd to power off; what is not off after `seconds` is switched off."""
        leader = self._leader()
        if leader is not None:
            self._stopping = True
            _kill(leader, POWEROFF_SIGNAL)
            self._wait(lambda: not self.running, seconds)
        self.power_off()

    def reboot(self, seconds: float = 60) -> None:
        """Ask systemd to reboot; returns when the new boot has begun. Forced after `seconds`."""
        before, leader = self.boots, self._leader()
        if leader is not None and self.running:
            _kill(leader, REBOOT_SIGNAL)
            seconds += self.firmware
            if self._wait(lambda: self.boots > before and self._leader() is not None, seconds):
                return
        self.power_off()
        self.start()

    def power_off(self) -> None:
        """Switch off hard: kill all that runs in the droplet. Returns when nothing is left."""
        self._stopping = True
        self._tell()
        # PID 1 first: then nspawn itself reaps it and ends, and nobody else has to.
        leader = self._leader()
        if leader is not None:
            _kill(leader, signal.SIGKILL)
            self._wait(lambda: not self.running, 5)
        cgroups.kill(self.group)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join(20)

    def _loop(self) -> None:
        try:
            while not self._stopping:
                # A real power cycle forgets the firewall; a namespace that is kept does not.
                run("ip", "netns", "exec", self.namespace, "nft", "flush", "ruleset")
                cgroups.clear(self.group)
                with self.log.open("ab") as console:
                    self._process = subprocess.Popen(
                        cgroups.entering(self.group, self._command),
                        stdin=subprocess.DEVNULL,
                        stdout=console,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        env={
                            "PATH": os.environ.get("PATH", os.defpath),
                            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
                        },
                    )
                self.boots += 1
                self._tell()
                status = self._process.wait()
                cgroups.kill(self.group)
                if status != REBOOT:
                    if status:
                        self._fault = f"systemd-nspawn ended with status {status}; see {self.log}"
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, self.firmware)
        except (LabError, OSError) as error:
            self._fault = str(error)
        finally:
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        with self._changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0:
                    return False
                # Thread ends and new leaders do not notify: look again soon.
                self._changed.wait(min(left, 0.05))
        return True

    def _leader(self) -> int | None:
        """The droplet's PID 1 as a process of this machine, once it is systemd."""
        process = self._process
        if process is None or process.poll() is not None:
            return None
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        except OSError:
            pass
        return None


def _kill(pid: int, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)
