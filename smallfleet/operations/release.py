"""Releases of apps."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import QuoteString, StringCommand, operation

from smallfleet.facts.release import PROGRAM, ReleaseStatus


@operation()
def deployed(app: str | None, author: str, force: bool = False) -> Generator[StringCommand, None, None]:
    """Have the app serve what its ref names, built from its present configuration.

    Does nothing while commit, requirements, uWSGI's configuration, environment and units are those of the
    release that serves, nor for what was rolled back. Fails, with the reason, where the new one is not
    healthy; the old one then serves on.

    + app: its role's name; None while it is not this droplet's turn
    + author: who runs this, for the records
    + force: make a new release in any case, also of what was rolled back
    """
    if app is None:
        host.noop("it is another droplet's turn")
        return
    status = host.get_fact(ReleaseStatus, app=app)
    if status.get("held") and host.state.is_executing:
        host.log(f"{app}: {status['held']}; --data force=true releases it", logger.warning)
    # An origin that cannot be asked is for the program to report: it fails with git's own words.
    if status.get("release") and not status["changed"] and not status["trouble"] and not force:
        host.noop(f"{app} serves {status['commit'][:8]} ({status['release']})")
        return
    words = ["--author", QuoteString(author), *(["--force"] if force else [])]
    yield StringCommand(PROGRAM, "deploy", QuoteString(app), *words)


@operation(is_idempotent=False)
def rolled_back(app: str, author: str, release: str | None = None) -> Generator[StringCommand, None, None]:
    """Have the app serve an earlier release again, without a build and without a network.

    + app: its role's name
    + author: who runs this, for the records
    + release: its name or the beginning of its commit; None for the one before the one that serves
    """
    words = [QuoteString(release)] if release else []
    yield StringCommand(PROGRAM, "rollback", QuoteString(app), *words, "--author", QuoteString(author))
