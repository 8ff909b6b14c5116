"""From the release that serves to another one, and back."""

from __future__ import annotations

from pathlib import Path

from smallfleet.programs.release.app import App, ReleaseError
from smallfleet.programs.release.health import wait_healthy
from smallfleet.programs.release.system import (
    disable,
    discard,
    enable,
    enabled,
    journal,
    last_lines,
    point,
    running,
    systemctl,
)

TRIES = 10  # answers of a candidate: one that loses memory with each shows it before visitors pay for it


def try_out(app: App, release: str) -> None:
    """Start the release beside the running one, on a private socket only, and ask for its health."""
    unit = app.candidate(release)
    try:
        try:
            systemctl("start", unit, step="Starting the candidate")
        except ReleaseError as error:
            raise ReleaseError(f"{error}\n{last_lines(journal(unit))}") from None
        wait_healthy(app, unit, app.socket(f"candidate-{release}"), TRIES)
    finally:
        discard(unit, kill=True)


def switch(app: App, release: str) -> None:
    """Let the release join the shared socket, point `current` at it, and end the others gracefully.

    On ReleaseError it has been stopped, and the others serve on.
    """
    unit = app.unit(release)
    others = [other for other in running(app) if other != release]
    try:
        systemctl("start", f"{app.name}.socket", unit, step="Starting the release, and its socket")
        wait_healthy(app, unit, app.socket(release))
    except ReleaseError as error:
        discard(unit)
        raise error from None
    enable(unit)
    point(app.link, Path("releases") / release)
    for other in enabled(app) - {release}:
        disable(app.unit(other))
    if others:
        # They take nothing new from now on, and end by themselves when what they began is answered.
        stop = ("stop", "--no-block", *(app.unit(other) for other in others))
        systemctl(*stop, step="Stopping the old release")
