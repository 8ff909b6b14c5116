"""Maintenance of sites: what can be served without the app is, the rest is asked to come back."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from smallfleet.facts.maintenance import PROGRAM
from smallfleet.facts.maintenance import Maintenance as MaintenanceFact
from smallfleet.operations import Commands


@operation(is_idempotent=False)
def on(sites: Sequence[str], seconds: float, message: str | None = None, reason: str = "by hand") -> Commands:
    """
    Put sites of the droplet into maintenance, or go on with it: the end is counted from now. Returns when no
    request is in their apps any more.

    + sites: names of apps
    + seconds: when it ends by itself
    + message: what visitors read
    + reason: what the owner reads
    """
    if not sites:
        host.noop("no site of this droplet is meant")
        return
    words = ["--for", f"{seconds:g}", "--reason", QuoteString(reason)]
    words += ["--message", QuoteString(message)] if message else []
    yield StringCommand(PROGRAM, "on", *sites, *words)


@operation()
def off(
    sites: Sequence[str], when_healthy: bool = True, within: float = 120.0, reason: str | None = None
) -> Commands:
    """
    End the maintenance of sites. Fails where an app is not healthy: it then stays in maintenance, to its end.

    + sites: names of apps
    + when_healthy: only when the app's own health check passes, which asks MongoDB as the site's own user
    + within: seconds that it may take
    + reason: leave alone what was begun for another reason
    """
    state = host.get_fact(MaintenanceFact)
    there = [site for site in sites if site in state and reason in (None, state[site]["reason"])]
    if not there:
        host.noop("no site is in maintenance")
        return
    words = ["--when-healthy", "--within", f"{within:g}"] if when_healthy else []
    yield StringCommand(PROGRAM, "off", *there, *words)
