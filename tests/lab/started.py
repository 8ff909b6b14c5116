"""Commands under way in a workplace, and how they are cut off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import BIN, PATIENCE, Workplace


class Started:
    """A command of the venv under way, whose output is read as it comes."""

    def __init__(self, place: Workplace, *words: str) -> None:
        environment = {**os.environ, "SMALLFLEET_LAB": place.lab, "PYINFRA_PROGRESS": "off", "COLUMNS": "200"}
        self.said = ""
        self.process = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]],
            cwd=place.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; the command must not end before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None and not condition():
                pytest.fail(f"ended before {what}:\n{self.said[-6000:]}", pytrace=False)
            if time.monotonic() > end:
                self.kill()
                pytest.fail(f"not within {PATIENCE:.0f} s: {what}:\n{self.said[-6000:]}", pytrace=False)
            time.sleep(0.02)

    def says(self, text: str) -> None:
        self.until(lambda: text in self.said, f"it says {text!r}")

    def kill(self) -> None:
        """End it as a power cut would: nothing is cleaned up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ends(self) -> int:
        status = self.process.wait(PATIENCE)
        self._reader.join(10)
        return status


@contextlib.contextmanager
def silence(place: Workplace, droplets: list[str]) -> Iterator[None]:
    """Drop all packets of the SSH connections that these droplets have now; new ones are let through."""
    ask = "ss -tnH state established sport = :22"
    ports = {line.split()[-1].rsplit(":", 1)[1] for d in droplets for line in place.ssh(d, ask).splitlines()}
    inside = ["ip", "netns", "exec", Lab.load(place.lab).namespace, "nft"]
    chain = "type filter hook forward priority -400; policy accept;"
    # With port 22 at the other end: the kernel gives a visitor of port 443 the same port of this end.
    match = f"{{ {', '.join(ports)} }} drop"
    both = f"tcp dport 22 tcp sport {match}; tcp sport 22 tcp dport {match};"
    rules = f"table inet silence {{ chain cut {{ {chain} {both} }}; }}"
    subprocess.run([*inside, rules], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "delete", "table", "inet", "silence"], check=True)
