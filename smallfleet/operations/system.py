"""The droplet's system as a whole."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import StringCommand, operation

from smallfleet.facts.system import CloudInit
from smallfleet.operations import Commands

UNFINISHED = ("running", "not started", "not run")


@operation()
def set_up_by_cloud_init() -> Commands:
    """Have a new droplet's cloud-init be done: until then it installs packages and writes SSH's config."""
    status = host.get_fact(CloudInit)
    if status not in UNFINISHED:
        host.noop(f"cloud-init is {status}")
        return
    # Its status is 1 or 2 where some part of it failed: the droplet answers on SSH all the same.
    yield StringCommand("cloud-init", "status", "--wait", ">/dev/null", "||", "true")
