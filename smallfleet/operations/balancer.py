"""A droplet behind a load balancer: it says by its answer to the health check that it wants no requests."""

from __future__ import annotations

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from smallfleet.facts.edge import LEAVING
from smallfleet.model.balancing import noticed_seconds
from smallfleet.operations import Commands

TIMER = "smallfleet-leaving"


@operation(is_idempotent=False)
def left(leaves: bool, seconds: float) -> Commands:
    """
    Have the load balancer send no new connections to this droplet, which serves on until that is so.

    + leaves: whether this droplet is meant; another one only waits for it
    + seconds: when the droplet wants its requests again by itself, if nobody went on; a reboot ends it too
    """
    if not leaves:
        host.noop("another droplet")
        return
    host.log(f"wants no requests, which takes {noticed_seconds()} s to be noticed", logger.info)
    # What ends it stands before it begins.
    yield StringCommand(
        *("systemctl", "stop", f"{TIMER}.timer", "2>/dev/null", ";"),
        *("systemd-run", "--quiet", "--collect", f"--unit={TIMER}", f"--on-active={seconds:g}"),
        *("--timer-property=AccuracySec=1s", "rm", "-f", LEAVING),
        *("&&", "touch", LEAVING, "&&", "sleep", str(noticed_seconds())),
    )


@operation(is_idempotent=False)
def joined(joins: bool) -> Commands:
    """
    Have the load balancer send connections to this droplet again; returns when it surely does.

    + joins: whether this droplet is meant; another one only waits for it
    """
    if not joins:
        host.noop("another droplet")
        return
    yield StringCommand(
        *("rm", "-f", LEAVING, ";", "systemctl", "stop", f"{TIMER}.timer", "2>/dev/null", ";"),
        *("sleep", str(noticed_seconds())),
    )
