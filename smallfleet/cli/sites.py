"""`fleet lab sites`: ask every site of the fleet in the lab as a visitor would."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from smallfleet.inventory import load_inventory
from smallfleet.lab.descriptor import Lab


@dataclass(frozen=True)
class Answer:
    """What one site answered to GET / over HTTPS. `seconds` is the whole request with its handshake."""

    role: str
    url: str
    address: str | None
    status: int | None
    seconds: float | None
    error: str | None
    curl: str
    maintenance: bool = False

    @property
    def healthy(self) -> bool:
        """A site in maintenance may well answer 200, with an old page: that is not healthy."""
        return self.status == 200 and not self.maintenance


def ask(role: str, domain: str, lab: Lab) -> Answer:
    """Resolve `domain` by the lab's DNS and ask it, verifying its certificate against the lab's CA."""
    # Not for each of fleet's verbs: they take a while.
    import dns.exception
    import dns.resolver
    import urllib3

    url = f"https://{domain}/"
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [lab.resolver]
    try:
        address = resolver.resolve(domain, "A", lifetime=5)[0].to_text()
    except dns.exception.DNSException as error:
        return Answer(role, url, None, None, None, f"does not resolve: {error}", "")
    curl = f"curl --cacert {lab.ca} --resolve {domain}:443:{address} {url}"
    started = time.monotonic()
    try:
        with urllib3.HTTPSConnectionPool(
            address,
            443,
            server_hostname=domain,
            assert_hostname=domain,
            ca_certs=str(lab.ca),
            retries=False,
            timeout=10,
        ) as pool:
            response = pool.request("GET", "/", headers={"Host": domain})
    except urllib3.exceptions.HTTPError as error:
        return Answer(role, url, address, None, None, str(error), curl)
    seconds = round(time.monotonic() - started, 3)
    return Answer(
        role, url, address, response.status, seconds, None, curl, "X-Maintenance" in response.headers
    )


def sites(
    inventory: Annotated[Path, typer.Argument(help="The inventory whose sites to ask.")] = Path(
        "inventory/lab.py"
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable, with how to reach each site.")
    ] = False,
) -> None:
    """Ask every site; show address, status and time. Status 1 unless all answer 200, none in maintenance."""
    fleet = load_inventory(inventory)
    lab = Lab.load(fleet.lab_name)
    apps = [(app.name, app.domain) for app in fleet.apps]
    with ThreadPoolExecutor(max_workers=len(apps) or 1) as pool:
        answers = list(pool.map(lambda app: ask(app[0], app[1], lab), apps))
    if as_json:
        typer.echo(json.dumps([asdict(answer) for answer in answers], indent=2))
    else:
        table = Table("site", "address", "droplet", "status", "time")
        for answer in answers:
            if answer.maintenance:
                status = f"[yellow]maintenance ({answer.status})[/yellow]"
            elif answer.healthy:
                status = f"[green]{answer.status}[/green]"
            else:
                status = f"[red]{answer.status or answer.error}[/red]"
            table.add_row(
                answer.role,
                answer.url,
                answer.address or "–",
                status,
                f"{answer.seconds * 1000:.0f} ms" if answer.seconds else "–",
            )
        Console().print(table)
    if not all(answer.healthy for answer in answers):
        raise typer.Exit(1)
