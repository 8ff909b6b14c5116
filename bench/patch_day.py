"""A patch day over eight droplets with 100,000 requests or more, beside a plain loop of upgrade and reboot.

    python -m bench.patch_day [day] [set] [loop]      as root; makes a lab for each, about ten minutes each

`set` is the same day with MongoDB on three droplets instead of one. Writes docs/pictures/patch-day.json, the
figures, patch-day.svg, patch-day-set.svg and patch-day-loop.svg, what visitors got, and docs/patch-day.md.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.patch_page import TITLES, draw, page, picture, sort_of
from bench.progress import say
from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import Workplace, workplace
from tests.lab.test_patch_day import DROPLETS, INVENTORY, SITES, boot_of, mongodb_away, notes, span, visits
from tests.lab.visitors import Answer, Crowd

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
PAGE = PICTURES.parent / "patch-day.md"
LEAST = 100_000  # requests
FIRMWARE = 20  # seconds that each reboot takes more than a container's, as a VM's does
STATIC_RATE = 45.0  # requests a second to each site's static file, besides the others; NGINX limits the app's


def by_hand(place: Workplace) -> None:
    """What one would type: each server in turn, the next when SSH answers again."""
    for name in DROPLETS:
        say(f"loop: {name}")
        before = boot_of(place, name)
        upgrade = (
            "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && apt-get -q -y upgrade && reboot"
        )
        place.ssh(name, upgrade, check=False)
        while boot_of(place, name) in ("", before):
            time.sleep(0.5)


def with_a_set(place: Workplace) -> None:
    """Edit the fleet as its owner would: two more droplets with the role mongodb, and members: 3."""
    inventory, role = place.directory / "inventory/prod.py", place.directory / "roles/mongodb.yml"
    mongo = 'Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"]),'
    more = "".join(f"\n        {mongo.replace('mongo', name, 1)}" for name in ("mongo2", "mongo3"))
    text = inventory.read_text()
    assert mongo in text
    inventory.write_text(text.replace(mongo, mongo + more))
    role.write_text(re.sub(r"(?m)^members: 1\b", "members: 3", role.read_text()))


def measure(place: Workplace, mode: str) -> tuple[dict[str, Any], list[Answer]]:
    """Run one way of patching under load; the figures, and all answers."""
    load = os.getloadavg()[0]
    visitors = [replace(one, rate=STATIC_RATE) if one.kind == "static" else one for one in visits(place)]
    with Crowd(Lab.load(place.lab).ca, visitors, most=400_000, seconds=3600) as crowd:
        crowd.wait_for(2000)
        began = asked = crowd.now()
        if mode != "loop":
            place.run("fleet", "patch", INVENTORY, "--dry", timeout=600)
            asked = crowd.now()  # what he sees before he says yes
            say(f"{mode}: the plan is there, after {asked - began:.0f} s; patching")
            place.run("fleet", "patch", INVENTORY, "-y", timeout=3000)
        else:
            by_hand(place)
        ended = crowd.now()
        say(f"{mode}: patched, after {ended - began:.0f} s; {len(crowd.answers)} requests so far")
        crowd.wait_for(max(LEAST, len(crowd.answers) + 2000), seconds=1200)
    written = notes(place)
    acknowledged = {one.token for one in crowd.answers if one.kind == "write" and one.status == 201}
    classes: dict[str, dict[str, int]] = {}
    for one in crowd.answers:
        row = classes.setdefault(one.kind, {})
        row[str(one.status)] = row.get(str(one.status), 0) + 1
    refused = [one for one in crowd.answers if sort_of(one) == "asked to come back"]
    figures = {
        "requests": len(crowd.answers),
        "processors": os.cpu_count(),
        "load before": round(load, 1),
        "firmware, s": FIRMWARE,
        "seconds": round(ended - (began if mode == "loop" else asked), 1),
        "commands": len(DROPLETS) if mode == "loop" else 1,
        "attention, s": round((ended if mode == "loop" else asked) - began, 1),
        "by class and status": classes,
        "server errors": sum(sort_of(one) == "server error" for one in crowd.answers),
        "without a connection": sum(sort_of(one) == "no connection" for one in crowd.answers),
        "asked to come back": len(refused),
        "maintenance, s": round(span(refused), 1),
        "MongoDB away, s": 0.0 if mode == "set" else round(mongodb_away(place), 1),
        "longest gap, s": {site: round(crowd.gap(site), 1) for site in SITES},
        "down, s": {site: downtime(crowd.answers, site) for site in SITES},
        "writes acknowledged": len(acknowledged),
        "of them lost": len(acknowledged - written),
    }
    return figures, list(crowd.answers)


def downtime(answers: list[Answer], site: str) -> float:
    """Seconds in which no page of the app was answered, gaps of under a second left out."""
    good = sorted(
        one.at + one.seconds for one in answers
        if one.site == site and one.kind in ("dynamic", "API") and one.fault is None
    )  # fmt: skip
    return round(sum(after - before for before, after in itertools.pairwise(good) if after - before > 1), 1)


def main(modes: list[str]) -> None:
    os.environ["SMALLFLEET_LAB_FIRMWARE"] = str(FIRMWARE)
    PICTURES.mkdir(parents=True, exist_ok=True)
    results = PICTURES / "patch-day.json"
    figures = json.loads(results.read_text()) if results.exists() else {}
    for mode in modes or list(TITLES):
        say(f"{mode}: making its lab and droplets")
        with tempfile.TemporaryDirectory() as directory, workplace(Path(directory)) as place:
            if mode == "set":
                with_a_set(place)
            place.deploy(INVENTORY, "deploys/site.py")
            figures[mode], answers = measure(place, mode)
        (PICTURES / picture(mode)).write_text(draw(answers, TITLES[mode]))
        results.write_text(json.dumps(figures, indent=1) + "\n")
        PAGE.write_text(page(figures))
        print(json.dumps({mode: figures[mode]}, indent=1))


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("bench: the lab needs root")
    main(sys.argv[1:])
