"""From the release that serves to another one, and back."""

from __future__ import annotations

from pathlib import Path

from smallfleet.programs.release.app import App, ReleaseError
from smallfleet.programs.release.health import wait_healthy
from smallfleet.programs.release.system import (
    disable,
    discard,
    enabled,
    journal,
    last_lines,
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
        systemctl("start", f"{app.name}.socket", step="Opening the app's socket")
        systemctl("start", unit, step="Starting the release")
        wait_healthy(app, unit, app.socket(release))
        systemctl("enable", "--quiet", unit, step="Enabling the release")
    except ReleaseError as error:
        disable(unit)
        discard(unit)
        raise error from None
    point(app.link, Path("releases") / release)
    for other in enabled(app) - {release}:
        disable(app.unit(other))
    for other in others:
        systemctl("stop", app.unit(other), step="Stopping the old release")


def point(link: Path, target: Path) -> None:
    """Point a symlink at its target in one step."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
