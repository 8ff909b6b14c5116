"""Traffic of an app's droplets, moved by the edge in front of them: away from one, and back."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from smallfleet.facts.edge import AWAY, DropletsAway
from smallfleet.operations import Commands

# A request that had been sent on before is in the app by then.
SETTLING = 0.2  # seconds


def _timer(droplet: str) -> str:
    return f"smallfleet-edge-back-{droplet}"


@operation(is_idempotent=False)
def away(droplet: str | None, seconds: float) -> Commands:
    """
    Have the edge send requests to the other droplets of the same sites, and to `droplet` no more. NGINX looks
    at each request whether it is to be so: nothing is reloaded, and no visitor's connection is closed.

    + droplet: its name; None on a droplet that only waits for this
    + seconds: when the droplet gets its requests again by itself, if nobody went on
    """
    if droplet is None:
        host.noop("no edge")
        return
    host.log(f"{droplet} gets no requests any more", logger.info)
    # What ends it stands before it begins.
    yield StringCommand(
        *("systemctl", "stop", f"{_timer(droplet)}.timer", "2>/dev/null", ";"),
        *("mkdir", "-p", AWAY, "&&", "systemd-run", "--quiet", "--collect", f"--unit={_timer(droplet)}"),
        *(f"--on-active={seconds:g}", "--timer-property=AccuracySec=1s", "rm", "-f", f"{AWAY}/{droplet}"),
        *("&&", "touch", f"{AWAY}/{droplet}", "&&", "sleep", f"{SETTLING:g}"),
    )


@operation()
def back(droplets: Sequence[str]) -> Commands:
    """
    Have the edge send requests to droplets again.

    + droplets: their names
    """
    there = [droplet for droplet in host.get_fact(DropletsAway) if droplet in droplets]
    if not there:
        host.noop("all get their requests")
        return
    for droplet in there:
        yield StringCommand(
            *("rm", "-f", f"{AWAY}/{droplet}", ";"),
            *("systemctl", "stop", f"{_timer(droplet)}.timer", "2>/dev/null", "||", "true"),
        )
