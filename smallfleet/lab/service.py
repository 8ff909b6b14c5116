"""A service of the far side: a process in the lab's router namespace, ended by its pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from smallfleet.lab.errors import LabError


class Service:
    """One process in `namespace`, with its output in `log`. Not started until `start`."""

    def __init__(
        self,
        name: str,
        namespace: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.namespace, self.command, self.log = name, namespace, list(command), log
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool], seconds: float = 15) -> None:
        """Start it and wait until `ready()`; `LabError` with its last words when it ends or takes longer."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    ["ip", "netns", "exec", self.namespace, *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise LabError(
                    "ip is not installed. Run bin/setup, which installs what the lab needs."
                ) from None
        end = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise LabError(f"{self.name} does not answer. Its last words: {self.last_words()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send it a signal; `ip netns exec` has become the command by then."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self) -> None:
        """End it: asked first, killed after 5 s. The whole session of its own ends with it."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(5)
                break
            except subprocess.TimeoutExpired:
                continue
        self.process = None

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return " / ".join(lines[-5:]) or "none"
