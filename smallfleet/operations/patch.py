"""Updates: fetched, installed, and made to count by a restart or a reboot."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation

from smallfleet.facts.patch import PatchPlan, patch_command
from smallfleet.facts.reboot import RebootProblems
from smallfleet.operations import Commands


def _flags(security_only: bool) -> list[str]:
    return ["--security-only"] if security_only else []


@operation()
def downloaded(security_only: bool = False) -> Commands:
    """Have the pending updates on the droplet, so that installing them is short."""
    if not host.get_fact(PatchPlan, security_only=security_only)["pending"]:
        host.noop("nothing is pending")
        return
    yield patch_command("download", *_flags(security_only))


@operation()
def installed(security_only: bool = False) -> Commands:
    """Have the pending updates installed. No service is restarted by that."""
    pending = host.get_fact(PatchPlan, security_only=security_only)["pending"]
    if not pending:
        host.noop("nothing is pending")
        return
    host.log(f"{len(pending)} updates: {', '.join(update['name'] for update in pending)}", logger.info)
    yield patch_command("install", *_flags(security_only))


@operation()
def restarted() -> Commands:
    """Have every service run with the files that are installed."""
    if services := host.get_fact(PatchPlan)["restart"]:
        host.log(f"restarts {', '.join(services)}", logger.info)
        yield patch_command("restart")
    else:
        host.noop("every service runs with what is installed")


@operation()
def comes_back() -> Commands:
    """Fail where the droplet would not come back from a reboot as it is now."""
    problems = host.get_fact(RebootProblems)
    if not problems:
        host.noop("it would come back from a reboot")
        return

    def refuse(state: object, host: object) -> bool:
        return False

    for problem in problems:
        host.log_styled(f"it would not come back from a reboot: {problem}", fg="red", log_func=logger.error)
    yield FunctionCommand(refuse, (), {})


@operation(is_idempotent=False)
def healthy(sites: Sequence[tuple[str, str]], services: Sequence[str], seconds: float = 90.0) -> Commands:
    """
    Wait until the droplet does its work: its services run, and its sites answer as visitors ask them, through NGINX.
    A site in maintenance does not count as healthy.

    + sites: (domain, path of the health check)
    + services: units
    + seconds: how long that may take
    """
    asks = [f"systemctl is-active --quiet {service}" for service in services]
    for domain, path in sites:
        ask = f"curl -sk -m 10 -o /dev/null -w '%{{http_code}}' --resolve {domain}:443:127.0.0.1"
        asks.append(f'[ "$({ask} https://{domain}{path})" = 200 ]')
    for what in asks:
        script = (
            f"end=$(($(date +%s) + {seconds:.0f})); until {what}; do "
            f'if [ "$(date +%s)" -ge "$end" ]; then exit 1; fi; sleep 0.2; done'
        )
        yield StringCommand("sh", "-c", QuoteString(script))
