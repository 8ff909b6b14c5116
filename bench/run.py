"""How long the site deploy takes, side by side on the same droplets: smallfleet, pyinfra's own SSH, Ansible
with pipelining, Ansible with Mitogen, and `ssh true` in parallel as the floor. As root, in the venv:

    python -m bench.run                           eight droplets, nothing to change
    python -m bench.run --rows nothing template --runs 5 --delays 0 50 150 --droplets 8 16 32 64
    python -m bench.run --rows nothing wire --droplets 16 32 64 --slow-runs 1
    python -m bench.run --rows first --runs 1     from nothing, in a fresh lab for each way
    python -m bench.run --rows wire               round trips and bytes
    python -m bench.run --page                    only writes the page and the picture anew

For each number of droplets it makes a lab of its own (bench8, …), provisions it with smallfleet, and takes it
down in the end unless --keep is given; one that is there is used. The ways are run in turn, so that what else
the machine does meets all of them. A run that changes what it should not, or nothing where it should, ends
it all. Figures are merged into docs/speed.json, from which the page docs/speed.md and its picture are made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import page, picture
from bench.progress import say
from bench.results import Figure, Results
from bench.rooms import PROJECT, Rooms
from bench.ways import WAYS, Run, Way
from smallfleet.lab.recipe import MORE
from tests.lab.conftest import INSTALLED

ROWS = ("plan", "dry", "nothing", "template", "reload", "first", "wire")
SLOW = ("ansible", "mitogen")


def spared(way: str, wanted: argparse.Namespace) -> bool:
    """Whether the way is run less often than the others, as each of its runs takes minutes."""
    return bool(wanted.slow_runs) and way in SLOW


def check(row: str, way: str, run: Run) -> None:
    """Ends the benchmark where a run has not done what its row is about."""
    if run.changes is None:
        return
    if row in ("nothing", "wire") and run.changes:
        raise SystemExit(f"{way}: {run.changes} changes where there was nothing to change")
    if row in ("template", "first") and not run.changes:
        raise SystemExit(f"{way}: no change where there was something to change")


def once(row: str, way: Way, rooms: Rooms, delay: int) -> Run:
    """One run of a row that is measured on provisioned droplets."""
    if row == "template":
        rooms.change()
    if row == "reload":
        return way.reload()
    run = way.plan() if row == "plan" else way.run(delay, dry=row == "dry")
    check(row, way.title, run)
    return run


def measure(row: str, delay: int, wanted: argparse.Namespace, ways: dict[str, Way], results: Results) -> None:
    """Run the ways in turn, as often as is wanted, after the runs that are not counted."""
    rooms = ways["smallfleet"].rooms
    taken = {name: way for name, way in ways.items() if name in wanted.ways and row in way.rows}
    figures = {name: results.begin(rooms.count, row, delay, name, wanted.add) for name in taken}
    for number in range(-wanted.warm, wanted.runs):
        for name, way in taken.items():
            if spared(name, wanted) and number not in range(wanted.slow_runs):
                continue
            run = once(row, way, rooms, delay)
            changes = "" if run.changes is None else f", {run.changes} changes"
            counted = " (not counted)" if number < 0 else ""
            say(f"{rooms.count} droplets, {row}, {delay} ms, {name}: {run.seconds:.2f} s{changes}{counted}")
            if number >= 0:
                figures[name].add(run)
                results.put(figures[name])
    if row == "template":
        rooms.change_back()
        ways["smallfleet"].run(0)


def wire(name: str, way: Way, rooms: Rooms, results: Results) -> None:
    """Round trips and bytes per droplet, of all that passes between client and sshd."""
    path = rooms.directory / f"wire-{name}"
    check("wire", way.title, way.run(0, wire=path))
    end = time.monotonic() + 10  # the proxies write when the client is gone
    while len(said := path.read_text().splitlines() if path.exists() else []) < rooms.count:
        if time.monotonic() > end:
            say(f"{name}: not counted, as of {rooms.count} connections {len(said)} have said what passed")
            return
        time.sleep(0.1)
    counted = {key: sum(json.loads(one)[key] for one in said) / rooms.count for key in ("turns", "out", "in")}
    figure = results.figure(rooms.count, "nothing", 0, name) or Figure(rooms.count, "nothing", 0, name)
    figure.wire = counted
    say(f"{rooms.count} droplets, wire, {name}: {figure.wire}")
    results.put(figure)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Droplets have Debian's packages from the beginning, where provisioning them is not what is measured."""
    os.environ[MORE] = INSTALLED
    try:
        yield
    finally:
        del os.environ[MORE]


def provisioned(count: int, wanted: argparse.Namespace, results: Results) -> None:
    """All rows but "first", on one fleet."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rooms = Rooms(Path(directory), count, wanted.lab or f"bench{count}")
        try:
            with installed():
                rooms.up()
            fleet = rooms.fleet()
            # It provisions and puts the template back, whether it is measured or not.
            ways = {name: WAYS[name](rooms, fleet) for name in WAYS if name in ("smallfleet", *wanted.ways)}
            say(f"{count} droplets: smallfleet provisions them")
            ways["smallfleet"].run(0)
            ways["smallfleet"].run(0)  # what it has learned of a new droplet is not what it asks an old one
            for row in wanted.rows:
                if row == "wire":
                    for name in wanted.ways:
                        if not spared(name, wanted):
                            wire(name, ways[name], rooms, results)
                elif row != "first":
                    for delay in wanted.delays:
                        measure(row, delay, wanted, ways, results)
        finally:
            os.chdir(PROJECT)
            if not wanted.keep:
                rooms.down()


def first(count: int, wanted: argparse.Namespace, results: Results) -> None:
    """From droplets that have nothing to the sites, a fresh lab for each way and run."""
    for number in range(wanted.runs):
        for name in wanted.ways:
            if "first" not in WAYS[name].rows:
                continue
            figure = results.begin(count, "first", 0, name, wanted.add or number > 0)
            with tempfile.TemporaryDirectory(prefix="bench-") as directory:
                rooms = Rooms(Path(directory), count, f"bench{count}-{name}")
                try:
                    rooms.up()
                    run = WAYS[name](rooms, rooms.fleet()).run(0)
                finally:
                    os.chdir(PROJECT)
                    if not wanted.keep:
                        rooms.down()
            check("first", name, run)
            figure.add(run)
            say(f"{count} droplets, first, {name}: {run.seconds:.1f} s, {run.changes} changes")
            results.put(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["nothing"], help=", ".join(ROWS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help=", ".join(WAYS))
    parser.add_argument("--droplets", type=int, nargs="+", default=[8])
    parser.add_argument("--delays", type=int, nargs="+", default=[0], help="ms added to the round trip")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--slow-runs", type=int, help="so many of Ansible and Mitogen, none not counted and no wire"
    )
    parser.add_argument(
        "--add", action="store_true", help="more runs of what was measured, not in their place"
    )
    parser.add_argument("--warm", type=int, default=1, help="runs before them that are not counted")
    parser.add_argument("--lab", help="the lab's name, in place of benchN")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, for the next measurement")
    parser.add_argument("--results", type=Path, default=PROJECT / "docs/speed.json")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    wanted = parser.parse_args()
    results = Results(wanted.results.resolve())
    try:
        for count in [] if wanted.page else wanted.droplets:
            if set(wanted.rows) - {"first"}:
                provisioned(count, wanted, results)
            if "first" in wanted.rows:
                first(count, wanted, results)
    finally:
        if results.figures:
            name = results.path.stem
            page.write(results, results.path.with_suffix(".md"))
            picture.write(results, results.path.parent / f"pictures/{name}.svg")


if __name__ == "__main__":
    main()
