"""The page and the pictures of a patch day: what visitors got, and what it took of the owner."""

from __future__ import annotations

from typing import Any

from tests.lab.test_patch_day import SITES
from tests.lab.visitors import Answer

TITLES = {
    "day": "fleet patch: eight droplets, what visitors got",
    "set": "fleet patch with MongoDB on three droplets: what visitors got",
    "loop": "apt-get upgrade and reboot, one after the other: what visitors got",
}
HEADS = {"day": "`fleet patch`", "set": "the same, MongoDB on three droplets", "loop": "a plain loop"}
PAGE = """# A patch day, measured

Made by `python -m bench.patch_day`: the fleet of `inventory/lab.py` with its pending security updates, in the
lab, while visitors go on asking all seven sites. {processors} processors, whose load (of one minute, when
the droplets had just been made) was {load} before. Each reboot takes {firmware} s
more than that of a container, which has no firmware, nor a kernel of its own ([lab](lab.md)).

{table}

- Each site has one droplet here, which is away while it reboots; on two behind an edge it is not
  ([scaling](scaling.md)).
- The plain loop is `apt-get upgrade && reboot` on one server after the other, the next one when SSH answers.
  Nobody looks whether a site works; while MongoDB is away, pages hang until it is back, or break.
- The pictures show all requests, most of them for static files, which need no app. In the loop's last half
  minute pages hang and break: a thin line there, the second half of a site's seconds without a page here.
- What is asked of the owner: with `fleet patch` the seconds until he sees the plan, and can say yes to it;
  with the loop those until the last server is back, since each next command waits for him.

"""

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


def picture(mode: str) -> str:
    """The name of its file in docs/pictures."""
    return f"patch-day{'' if mode == 'day' else f'-{mode}'}.svg"


def page(figures: dict[str, Any]) -> str:
    """docs/patch-day.md, of what was measured so far: {mode: its figures}."""
    modes = [mode for mode in HEADS if mode in figures]
    rows = [
        ["", *(HEADS[mode] for mode in modes)],
        ["---", *("--:" for _ in modes)],
        ["requests", *(f"{figures[mode]['requests']:,}" for mode in modes)],
    ]

    def row(name: str, key: str, unit: str = "") -> None:
        rows.append([name, *(f"{figures[mode][key]:,}{unit}" for mode in modes)])

    row("answered with 500, 502 or 504, or broken off", "server errors")
    row("no connection (the site's own droplet reboots)", "without a connection")
    row("asked to come back (503, in maintenance)", "asked to come back")
    row("from the first 503 to the last", "maintenance, s", " s")
    row("mongod away", "MongoDB away, s", " s")
    for site in SITES:
        down = (f"{figures[m]['down, s'][site]} s ({figures[m]['longest gap, s'][site]} s)" for m in modes)
        rows.append([f"{site}: no page for (longest gap of any answer)", *down])
    row("writes acknowledged", "writes acknowledged")
    row("of them lost", "of them lost")
    row("the whole day", "seconds", " s")
    row("commands that the owner types", "commands")
    row("until nothing more is asked of him", "attention, s", " s")
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    parts = []
    for mode in modes:
        kinds = figures[mode]["by class and status"]
        statuses = sorted({status for row in kinds.values() for status in row})
        head = [
            ["", *(one.replace("None", "no connection") for one in statuses)],
            ["---"] + ["--:"] * len(statuses),
        ]
        cells = [
            [kind, *(f"{some.get(one, 0):,}" for one in statuses)] for kind, some in sorted(kinds.items())
        ]
        lines = "\n".join(f"| {' | '.join(line)} |" for line in [*head, *cells])
        parts.append(f"## {TITLES[mode]}\n\n![{TITLES[mode]}](pictures/{picture(mode)})\n\n{lines}\n")
    loads = [figures[mode]["load before"] for mode in modes]
    processors = figures[modes[0]]["processors"]
    firmware = " or ".join(sorted({str(figures[mode].get("firmware, s", 0)) for mode in modes}))
    load = " to ".join(str(one) for one in sorted({min(loads), max(loads)}))
    return PAGE.format(processors=processors, load=load, firmware=firmware, table=table) + "\n".join(parts)
