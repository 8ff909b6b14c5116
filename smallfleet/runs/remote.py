"""Ask a fleet's droplets about runs, from outside of a run: who has the lock, what was done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from smallfleet.cloud.client import Client
from smallfleet.cloud.survey import Json, address, find_droplets, find_vpc
from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet
from smallfleet.runs.note import Note
from smallfleet.runs.ssh import Keeper, Unreached, connect


def client_of(fleet: Fleet) -> Client:
    return Client(fleet.end_point, fleet.token())


def there(fleet: Fleet) -> list[Json]:
    """The fleet's droplets that exist and have an address, in the inventory's order."""
    client = client_of(fleet)
    found, _ = find_droplets(client, fleet, find_vpc(client, fleet))
    ordered = [found[droplet.name] for droplet in fleet.droplets if droplet.name in found]
    return [droplet for droplet in ordered if address(droplet, "public")]


def ask(fleet: Fleet, droplet: Json, words: Json) -> Any:
    """One question to the keeper on a droplet. Raises Unreached."""
    client = connect(fleet, droplet)
    try:
        return Keeper(str(droplet["name"]), client).ask(words)
    finally:
        client.close()


def ask_all(fleet: Fleet, droplets: list[Json], words: Json, silent: Callable[[str], None]) -> dict[str, Any]:
    """{name: answer} of those that answer; `silent` is told of the others."""

    def one(droplet: Json) -> Any:
        try:
            return ask(fleet, droplet, words)
        except Unreached as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        answers = dict(zip((str(d["name"]) for d in droplets), pool.map(one, droplets), strict=True))
    for answer in answers.values():
        if isinstance(answer, Unreached):
            silent(str(answer))
    said = {name: answer for name, answer in answers.items() if not isinstance(answer, Unreached)}
    if droplets and not said:
        raise FleetError("no droplet answers")
    return said


def merged(records: dict[str, list[Note]]) -> list[Note]:
    """One record for each run, newest first, from what each droplet ({name: records}) keeps of it.

    A droplet's own word on itself counts; on how the run ended, that of a droplet which saw its end.
    """
    runs: dict[str, Note] = {}
    for name, kept in records.items():
        for record in kept:
            run = runs.setdefault(record["id"], {**record, "droplets": {}})
            if run.get("seconds") is None and (record.get("seconds") is not None or not run.get("result")):
                run.update({key: record.get(key) for key in ("ended", "seconds", "result")})
            for droplet, part in record["droplets"].items():
                if droplet == name or droplet not in run["droplets"]:
                    run["droplets"][droplet] = part
    return sorted(runs.values(), key=lambda run: str(run["id"]), reverse=True)
