"""docs/speed.md, made from the figures. What is written by hand stands below a line, and stays."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.results import Figure, Results
from bench.ways import WAYS, versions

BY_HAND = "<!-- Written by hand from here on; the benchmark leaves it as it is. -->"
ROWS = {
    "plan": "nothing to change, `fleet plan`",
    "dry": "nothing to change, `--dry`",
    "nothing": "nothing to change",
    "template": "one template changed",
    "reload": "NGINX tries and takes what it has, by `ssh`",
    "first": "first provision",
}
# What issue 6 asks of the no-change run over eight droplets: at least so many times faster than …
TIMES = {"ansible": 40.0, "mitogen": 8.0, "pyinfra": 6.0}
FLOORS, TURNS, FAR, CHANGE, FIRST = 2.5, 4, 3.0, 1.5, 1.5
GROWTH = 0.05  # of what a droplet costs, from the fewest to the most: within the spread


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def times(results: Results, droplets: int) -> str:
    """The runs over so many droplets: a row per kind of run and delay, a column per way."""
    kinds = sorted(
        {
            (list(ROWS).index(f.row), f.delay)
            for f in results.figures.values()
            if f.droplets == droplets and f.seconds
        }
    )
    rows = []
    for index, delay in kinds:
        row = list(ROWS)[index]
        cells = [results.figure(droplets, row, delay, way) for way in WAYS]
        late = f", {delay} ms added" if delay else ""
        runs = max(len(cell.seconds) for cell in cells if cell)
        rows.append([f"{ROWS[row]}{late}", str(runs), *(cell.cell() if cell else "" for cell in cells)])
    return table(["", "runs", *(way.title for way in WAYS.values())], rows)


def per_droplet(results: Results) -> str:
    """What each further droplet costs in a run that changes nothing; "" where one size alone was measured."""
    sizes = sorted(
        {f.droplets for f in results.figures.values() if f.row == "nothing" and not f.delay and f.seconds}
    )
    if len(sizes) < 2:
        return ""
    rows = []
    for droplets in sizes:
        cells = [results.figure(droplets, "nothing", 0, way) for way in WAYS]
        rows.append(
            [
                str(droplets),
                *(f"{cell.median / droplets:.2f}" if cell and cell.seconds else "" for cell in cells),
            ]
        )
    head = table(["droplets", *(way.title for way in WAYS.values())], rows)
    return f"## Seconds per droplet, nothing to change\n\n{head}\n"


def wires(results: Results) -> str:
    rows = []
    for figure in sorted(results.figures.values(), key=lambda f: (f.droplets, list(WAYS).index(f.way))):
        if wire := figure.wire:
            rows.append(
                [
                    str(figure.droplets),
                    WAYS[figure.way].title,
                    f"{wire['turns']:.0f}",
                    f"{wire['out'] / 1024:.0f}",
                    f"{wire['in'] / 1024:.0f}",
                    f"{statistics.median(figure.cpu):.1f}" if figure.cpu else "",
                ]
            )
    if not rows:
        return ""
    head = ["droplets", "", "round trips", "KiB out", "KiB in", "the client's processor, s, all droplets"]
    return (
        "## Per droplet, nothing to change\n\nAll that passes between the client and a droplet's sshd, "
        f"logging in included.\n\n{table(head, rows)}\n"
    )


def goals(results: Results, droplets: int = 8) -> str:
    """What was to be reached, and whether it was."""

    def median(row: str, way: str, delay: int = 0) -> float | None:
        figure = results.figure(droplets, row, delay, way)
        return figure.median if figure and figure.seconds else None

    rows: list[list[str]] = []

    def goal(what: str, wanted: str, value: float | None, text: str, reached: bool) -> None:
        if value is not None:
            rows.append([what, wanted, text.format(value), "yes" if reached else "**no**"])

    def quotient(above: float | None, below: float | None) -> float | None:
        return above / below if above is not None and below else None

    ours, changed = median("nothing", "smallfleet"), median("template", "smallfleet")
    for way, least in TIMES.items():
        faster = quotient(median("nothing", way), ours)
        what = f"nothing to change: faster than {WAYS[way].title}"
        goal(what, f"{least:.0f} times", faster, "{:.1f} times", (faster or 0) >= least)
    floors = quotient(ours, median("nothing", "floor"))
    goal("… and at most so many times the floor", f"{FLOORS}", floors, "{:.1f}", (floors or 9) <= FLOORS)
    far = median("nothing", "smallfleet", 150)
    goal("… with 150 ms added", f"{FAR:.0f} s", far, "{:.1f} s", (far or 9) <= FAR)
    wires = [results.figure(droplets, "nothing", 0, way) for way in ("smallfleet", "floor")]
    if all(figure and figure.wire for figure in wires):
        turns = [figure.wire["turns"] for figure in wires if figure]
        beyond = turns[0] - turns[1]
        goal("… round trips beyond those of `ssh true`", f"{TURNS}", beyond, "{:.1f}", beyond <= TURNS)
    reload = (median("reload", "floor") or 0.0) - (median("nothing", "floor") or 0.0)
    more = quotient(changed - reload if changed else None, ours)
    what = "one template changed: times the no-change run, without the reload itself"
    goal(what, f"{CHANGE}", more, f"{{:.1f}} (the reload: {reload:.1f} s)", (more or 9) <= CHANGE)
    most = max((f.droplets for f in results.figures.values() if f.row == "nothing" and f.seconds), default=0)
    largest = results.figure(most, "nothing", 0, "smallfleet")
    if ours and largest and largest.seconds and most > droplets:
        growth = largest.median / most / (ours / droplets)
        goal(
            f"a droplet among {most}, times one among {droplets}",
            f"1 (within {100 * GROWTH:.0f} %)",
            growth,
            "{:.2f}",
            growth < 1 + GROWTH,
        )
    firsts = quotient(median("first", "ansible"), median("first", "smallfleet"))
    goal(
        "first provision: faster than Ansible",
        f"{FIRST} times",
        firsts,
        "{:.1f} times",
        (firsts or 0) >= FIRST,
    )
    if not rows:
        return ""
    head = table([f"{droplets} droplets, by medians", "wanted", "measured", "reached"], rows)
    return f"## What was to be reached\n\n{head}\n"


def conditions(figures: list[Figure]) -> str:
    """What the figures were measured on, when, and how busy it was."""
    machines = sorted({figure.machine for figure in figures if figure.machine})
    dates = sorted({figure.date for figure in figures if figure.date})
    loads = [figure.load for figure in figures if figure.date]
    by_size = [figure.load / max(figure.droplets, 8) for figure in figures if figure.date]
    busy = (
        " It was busy with other things in some of them, so that figures are too high, and spread."
        if max(by_size, default=0) > 1.5
        else ""
    )
    return (
        f"{'; '.join(machines)}. {versions()}. Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. "
        "The droplets are the lab's, on the same machine, and share its processors. Its load (of one minute, "
        "in which the droplets were made or provisioned) before the measurements was "
        f"{min(loads):.1f} to {max(loads):.1f}.{busy}"
    )


def write(results: Results, path: Path) -> None:
    before = path.read_text() if path.exists() else ""
    by_hand = before.partition(BY_HAND)[2].strip("\n")
    sizes = sorted({figure.droplets for figure in results.figures.values() if figure.seconds})
    parts = "\n".join(f"## {size} droplets\n\n{times(results, size)}" for size in sizes)
    figures = [figure for figure in results.figures.values() if figure.seconds]
    path.write_text(
        f"""# Speed

![Seconds of a run of the site deploy, by way](pictures/{path.stem}.svg)

The site deploy, in seconds: the median of the runs, and the least and the most. The ways are run in turn on
the same droplets; first provisions each in a fresh lab, on droplets that are there and have nothing. Ansible
has pipelining, a fork per droplet, connections that are kept during a run, and no fact gathering; its
playbook (bench/ansible) makes the same files, packages, units and users from the same templates and model.

{conditions(figures) if figures else ""}

{parts}
{goals(results)}{per_droplet(results)}{wires(results)}## Measure it yourself

`python -m bench.run --help` says how; it makes its own labs, and writes this page, its picture and
[the figures]({path.stem}.json). `python -m bench.same` shows that the playbook and the deploy make the same
droplets.

{BY_HAND}

{by_hand}
""".rstrip("\n")
        + "\n"
    )
