"""A patch day over eight droplets with 100,000 requests or more, beside a plain loop of upgrade and reboot.

    python -m bench.patch_day [day] [set] [loop]      as root; makes a lab for each, about ten minutes each

`set` is the same day with MongoDB on three droplets instead of one. Writes docs/pictures/patch-day.json, the
figures, and patch-day.svg, patch-day-set.svg and patch-day-loop.svg, what visitors got.
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

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import Workplace, workplace
from tests.lab.test_patch_day import DROPLETS, INVENTORY, SITES, boot_of, mongodb_away, notes, span, visits
from tests.lab.visitors import Answer, Crowd

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
LEAST = 100_000  # requests
STATIC_RATE = 45.0  # requests a second to each site's static file, besides the others; NGINX limits the app's
# What an answer is called and drawn as, from good to bad.
COLOURS = {
    "answered": "#4c9f70",
    "answered in maintenance": "#9bd0b0",
    "asked to come back": "#f2c14e",
    "no connection": "#9a9a9a",
    "server error": "#d1495b",
}


def sort_of(answer: Answer) -> str:
    if answer.status is None:
        return "no connection"
    if answer.status == 503 and answer.maintenance:
        return "asked to come back"
    if answer.status >= 500 or answer.fault is not None:
        return "server error"
    return "answered in maintenance" if answer.maintenance else "answered"


def by_hand(place: Workplace) -> None:
    """What one would type: each server in turn, the next when SSH answers again."""
    for name in DROPLETS:
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
    load = [replace(one, rate=STATIC_RATE) if one.kind == "static" else one for one in visits(place)]
    with Crowd(Lab.load(place.lab).ca, load, most=400_000, seconds=3600) as crowd:
        crowd.wait_for(2000)
        began = crowd.now()
        if mode != "loop":
            place.run("fleet", "patch", INVENTORY, "-y", timeout=3000)
        else:
            by_hand(place)
        took = crowd.now() - began
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
        "seconds": round(took, 1),
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


def draw(answers: list[Answer], title: str) -> str:
    """An SVG: a row per site, a column per second, its height shared out by what visitors got."""
    end = max(one.at for one in answers)
    left, top, width, height, gap = 90, 46, 1000, 34, 10
    scale = width / end
    parts = [f'<text x="{left}" y="20" font-size="15" font-weight="bold">{title}</text>']
    for index, (name, colour) in enumerate(COLOURS.items()):
        x = left + index * 190
        parts.append(f'<rect x="{x}" y="28" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="38" font-size="11">{name}</text>')
    for row, site in enumerate(SITES):
        y = top + row * (height + gap)
        parts.append(f'<text x="{left - 8}" y="{y + 22}" font-size="13" text-anchor="end">{site}</text>')
        columns: dict[int, dict[str, int]] = {}
        for one in answers:
            if one.site == site:
                sorts = columns.setdefault(int(one.at), {})
                sorts[sort_of(one)] = sorts.get(sort_of(one), 0) + 1
        parts.append(
            f'<rect x="{left}" y="{y}" width="{width}" height="{height}" fill="{COLOURS["answered"]}"/>'
        )
        for second, sorts in sorted(columns.items()):
            if set(sorts) == {"answered"}:
                continue
            offset, whole = 0.0, sum(sorts.values())
            for name in COLOURS:
                share = height * sorts.get(name, 0) / whole
                if share:
                    place = f'x="{left + second * scale:.1f}" y="{y + offset:.1f}"'
                    size = f'width="{scale + 0.2:.2f}" height="{share:.1f}"'
                    parts.append(f'<rect {place} {size} fill="{COLOURS[name]}"/>')
                offset += share
    bottom = top + len(SITES) * (height + gap)
    for minute in range(int(end // 60) + 1):
        x = left + minute * 60 * scale
        parts.append(f'<text x="{x:.0f}" y="{bottom + 12}" font-size="11">{minute} min</text>')
    style = 'font-family="system-ui, sans-serif" fill="#222"'
    size = f'viewBox="0 0 {left + width + 20} {bottom + 24}"'
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{background}\n{body}\n</svg>\n'


def main(modes: list[str]) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    results = PICTURES / "patch-day.json"
    figures = json.loads(results.read_text()) if results.exists() else {}
    titles = {
        "day": "fleet patch: eight droplets, what visitors got",
        "set": "fleet patch with MongoDB on three droplets: what visitors got",
        "loop": "apt-get upgrade and reboot, one after the other: what visitors got",
    }
    for mode in modes or list(titles):
        with tempfile.TemporaryDirectory() as directory, workplace(Path(directory)) as place:
            if mode == "set":
                with_a_set(place)
            place.deploy(INVENTORY, "deploys/site.py")
            figures[mode], answers = measure(place, mode)
        (PICTURES / f"patch-day{'' if mode == 'day' else f'-{mode}'}.svg").write_text(
            draw(answers, titles[mode])
        )
        results.write_text(json.dumps(figures, indent=1) + "\n")
        print(json.dumps({mode: figures[mode]}, indent=1))


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("bench: the lab needs root")
    main(sys.argv[1:])
