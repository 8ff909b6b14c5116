"""DNS names of sites that move to a droplet once it serves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation

from smallfleet.facts.health import Unhealthy
from smallfleet.operations import Commands

SECONDS = 60.0  # for the sites to become well


@operation()
def lead_here(names: Sequence[str], sites: Sequence[tuple[str, str]]) -> Commands:
    """
    Have DNS names lead to this droplet, and to the others that serve their sites with it, once these answer
    well through this one's NGINX. Fails, and moves none, where they do not.

    + names: those that lead elsewhere now, to who serves them until then
    + sites: (domain, path of the health check)
    """
    if not names:
        host.noop("the names lead where they should")
        return
    question = Unhealthy().command(sites=list(sites), services=[], seconds=SECONDS)
    yield StringCommand(
        *("ill=$(", question, ");", "[", "-z", '"$ill"', "]", "||", "{", "echo"),
        QuoteString("not healthy here, so the names stay where they lead:"),
        *('"$ill"', ">&2;", "exit", "1;", "}"),
    )
    for name in names:
        yield FunctionCommand(_move, (name,), {})


def _move(state: Any, host: Any, name: str) -> None:
    host.connector.move(name)
