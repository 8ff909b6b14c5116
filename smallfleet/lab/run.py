"""Running the system's tools: one place that turns their failures into a `LabError`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from smallfleet.lab.errors import LabError


def run(*command: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a tool and return its stdout; a failure is a `LabError` with the tool's last words.

    `check=False` is for taking away what may not be there. `stdin` is text for the tool, never shown.
    """
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed; `fleet lab up` says what to install.") from None
    if check and done.returncode:
        words = (done.stderr or done.stdout).strip()[-1500:]
        raise LabError(f"{' '.join(command[:6])} ended with status {done.returncode}: {words}")
    return done.stdout


def ip_batch(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run several `ip` commands in one process, in a namespace if one is named; stops at the first fault."""
    where = ("-n", namespace) if namespace else ()
    run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")
