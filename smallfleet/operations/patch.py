"""Updates: fetched, installed, and made to count by a restart or a reboot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand, operation

from smallfleet.facts.health import FailedUnits, Unhealthy
from smallfleet.facts.patch import Patch, PatchPlan, patch_command
from smallfleet.facts.reboot import RebootProblems
from smallfleet.operations import Commands, maintenance, reboot


def _flags(security_only: bool) -> list[str]:
    return ["--security-only"] if security_only else []


@operation()
def downloaded(plan: Patch, security_only: bool = False) -> Commands:
    """
    Have the pending updates on the droplet, so that installing them is short.

    + plan: what `PatchPlan` said when the day began
    + security_only: leave the others
    """
    if not plan["pending"]:
        host.noop("nothing is pending")
        return
    yield patch_command("download", *_flags(security_only))


@operation()
def installed(plan: Patch, found: dict[str, Patch], security_only: bool = False) -> Commands:
    """
    Have the pending updates installed. No service is restarted by that.

    + plan: what `PatchPlan` said when the day began
    + found: where to note, under the droplet's name, what it needs now that they are
    + security_only: leave the others
    """
    if plan["pending"]:
        names = ", ".join(update["name"] for update in plan["pending"])
        host.log(f"{len(plan['pending'])} updates: {names}", logger.info)
        yield patch_command("install", *_flags(security_only))
        plan = host.get_fact(PatchPlan, security_only=security_only)  # pyinfra comes back here afterwards
    else:
        host.noop("nothing is pending")
    found[host.name] = plan


@operation()
def stopped(services: Sequence[str], at_most: float = 60.0) -> Commands:
    """
    Have services stopped, so that they end in order and in their own time.

    + services: units
    + at_most: seconds after which the droplet starts them again by itself, if nobody went on
    """
    for service in services:
        again = f"smallfleet-again-{service.removesuffix('.service')}"
        yield StringCommand(
            *("systemctl", "stop", f"{again}.timer", "2>/dev/null", ";"),
            *("systemd-run", "--quiet", "--collect", f"--unit={again}", f"--on-active={at_most:g}"),
            *("--timer-property=AccuracySec=1s", "systemctl", "start", service),
            *("&&", "systemctl", "stop", service),
        )


@operation()
def running(services: Sequence[str]) -> Commands:
    """
    Have services running that a patch day which was cut off may have left stopped, and start once more what
    has failed: what fails again is for `comes_back` to say.

    + services: units
    """
    for service in host.get_fact(Unhealthy, sites=[], services=list(services), seconds=0):
        yield StringCommand("systemctl", "start", service)
    for unit in host.get_fact(FailedUnits):
        host.log(f"{unit} had failed, and is started again", logger.warning)
        yield StringCommand("systemctl", "start", unit, "||", "true")


@operation()
def taken_up(
    found: dict[str, Patch],
    turn: Callable[[], bool] | None,
    services: Sequence[str],
    sites: Sequence[str],
    reason: str,
    seconds: float = 180.0,
) -> Commands:
    """
    Make the updates count, by what the droplet was found to need: a reboot, or services restarted. On every
    droplet whose sites wait for that, end their maintenance as soon as they are healthy.

    + found: what was found, by droplet
    + turn: given for the droplet whose turn it is; whether that is still to be done
    + services: those of its services that were stopped for it
    + sites: the droplet's sites that wait
    + reason: of their maintenance; one that was begun for another is left alone
    + seconds: how long the reboot may take
    """
    patch = found.get(host.name) if turn and turn() else None
    if patch and patch["reboot"]:
        yield from reboot.rebooted._inner(seconds=seconds)
        yield from running._inner(services=services)
    elif patch and patch["restart"]:
        for service in services:
            yield StringCommand("systemctl", "start", service)
        yield patch_command("restart")
    elif turn:
        host.noop("neither a reboot nor a restart is needed")
    if sites:
        yield from maintenance.off._inner(sites=sites, reason=reason, within=seconds)


def _refuse(state: object, host: object) -> bool:
    return False  # an operation that ends so has failed, without a traceback


@operation()
def comes_back() -> Commands:
    """Fail where the droplet would not come back from a reboot as it is now."""
    problems = host.get_fact(RebootProblems)
    if not problems:
        host.noop("it would come back from a reboot")
        return
    for problem in problems:
        host.log_styled(f"it would not come back from a reboot: {problem}", fg="red", log_func=logger.error)
    yield FunctionCommand(_refuse, (), {})


@operation()
def healthy(sites: Sequence[tuple[str, str]], services: Sequence[str], seconds: float = 90.0) -> Commands:
    """
    Wait until the droplet does its work: its services run, and its sites answer as visitors ask them, through
    NGINX. A site in maintenance does not count as healthy. Fails where that is not so in time.

    + sites: (domain, path of the health check)
    + services: units
    + seconds: how long that may take
    """
    ill = host.get_fact(Unhealthy, sites=list(sites), services=list(services), seconds=seconds)
    if not ill:
        host.noop("all is well")
        return
    host.log_styled(f"not healthy, after {seconds:.0f} s: {', '.join(ill)}", fg="red", log_func=logger.error)
    yield FunctionCommand(_refuse, (), {})
