"""Whether a droplet does its work."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand


class Unhealthy(FactBase[list[str]]):
    """Which of the droplet's `services` do not run, and which `sites` do not answer 200; [] if all is well.

    `sites` are (domain, path), asked through the droplet's own NGINX, as visitors ask; one in maintenance
    answers 503. All have `seconds` to become well.
    """

    default = list

    def command(self, sites: list[tuple[str, str]], services: list[str], seconds: float) -> StringCommand:
        asks = {service: f"systemctl is-active --quiet {service}" for service in services}
        for domain, path in sites:
            ask = f"curl -sk -m 10 -o /dev/null -w '%{{http_code}}' --resolve {domain}:443:127.0.0.1"
            asks[f"{domain}{path}"] = f'[ "$({ask} https://{domain}{path})" = 200 ]'
        end = f"end=$(($(date +%s) + {seconds:.0f}))"
        waits = [
            f'until {ask}; do if [ "$(date +%s)" -ge "$end" ]; then echo {what}; break; fi; sleep 0.2; done'
            for what, ask in asks.items()
        ]
        return StringCommand("sh", "-c", QuoteString("; ".join([end, *waits])))

    def process(self, output: list[str]) -> list[str]:
        return [line.strip() for line in output if line.strip()]


class FailedUnits(FactBase[list[str]]):
    """The units that systemd says have failed."""

    default = list

    def command(self) -> str:
        return "systemctl list-units --state=failed --plain --no-legend"

    def process(self, output: list[str]) -> list[str]:
        return [line.split()[0] for line in output if line.strip()]
