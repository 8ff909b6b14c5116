"""Run the machine's own tools, with errors that say what was run and what it said."""

from __future__ import annotations

import subprocess

from smallfleet.lab.errors import LabError


def run(*words: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a command and return its standard output; `LabError` with its last words when it fails."""
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(
            f"{words[0]} is not installed. Run bin/setup, which installs all that the lab needs."
        ) from None
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise LabError(
            f"{' '.join(words)} ended with {done.returncode}: {' / '.join(said) or 'it said nothing'}"
        )
    return done.stdout


def ip(*words: str, namespace: str | None = None, check: bool = True) -> str:
    """Run ip(8), inside `namespace` when one is given."""
    return run("ip", *(("-n", namespace) if namespace else ()), *words, check=check)
