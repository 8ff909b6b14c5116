"""Releases of apps."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from smallfleet.facts.release import PROGRAM, ReleaseStatus


@operation()
def deployed(app: str) -> Generator[StringCommand, None, None]:
    """Have the app serve what its ref names, built from its present configuration.

    Does nothing while commit, requirements, uWSGI's configuration, environment and units are those of the
    release that serves. Fails, with the reason, where the new one is not healthy; the old one then serves on.
    """
    status = host.get_fact(ReleaseStatus, app=app)
    # An origin that cannot be asked is for the program to report: it fails with git's own words.
    if status.get("release") and not status["changed"] and not status["trouble"]:
        host.noop(f"{app} serves {status['commit'][:8]} ({status['release']})")
        return
    yield StringCommand(PROGRAM, "deploy", QuoteString(app))
