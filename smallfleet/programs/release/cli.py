"""smallfleet-release: the words of its command line."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from smallfleet.programs.release.app import App, ReleaseError
from smallfleet.programs.release.environment import hide
from smallfleet.programs.release.keeping import listing
from smallfleet.programs.release.verbs import deploy, rollback, status

LOCKS = Path("/run")
BUILD_SECONDS = 300.0  # for a release that another run is making, besides its start and its watch


@contextlib.contextmanager
def alone(app: App, seconds: float) -> Iterator[None]:
    """One change of an app at a time; a second waits for the first. The lock goes with the process."""
    end = time.monotonic() + seconds
    with (LOCKS / f"smallfleet-release-{app.name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ReleaseError(
                        f"{app.name} is being released by another run; start this one when that is done."
                    ) from None
                time.sleep(0.1)
        yield


def say(text: str, stream: str = "stdout") -> None:
    """Print, also when nobody listens any more: a client that is gone does not end what was begun."""
    with contextlib.suppress(OSError):
        print(text, file=getattr(sys, stream), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="smallfleet-release", description="Release an app on this droplet.")
    parser.add_argument("verb", choices=["deploy", "rollback", "status", "list"])
    parser.add_argument("app")
    parser.add_argument("release", nargs="?", help="rollback: to which; left out, the one before")
    parser.add_argument("--author", default="root on the droplet", help="who runs this")
    parser.add_argument("--force", action="store_true", help="deploy also what is held back")
    wanted = parser.parse_args(arguments)
    try:
        app = App.load(wanted.app)
    except ReleaseError as error:
        say(f"{wanted.app}: {error}", "stderr")
        return 1
    try:
        if wanted.verb == "status":
            say(json.dumps(status(app)))
            return 0
        if wanted.verb == "list":
            say(json.dumps(listing(app)))
            return 0
        # The end of the owner's connection does not end a switch or a watch half-way.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with alone(app, app.start_seconds + app.watch + BUILD_SECONDS):
            if wanted.verb == "deploy":
                done = deploy(app, wanted.author, wanted.force)
            else:
                done = rollback(app, wanted.release, wanted.author)
            say(f"{app.name}: {done}.")
    except ReleaseError as error:
        say(hide(app, f"{app.name}: {error}"), "stderr")
        return 1
    return 0
