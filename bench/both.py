"""Every deploy in both ways, through pyinfra's own SSH connector and through smallfleet's, and what differs.

    python -m bench.both [--droplets 3] [--deploys nginx tls]      as root, in the venv; makes and ends a lab

Each deploy script is run by itself: where there is nothing to change, and after the droplets were edited by
hand (bench/disturbances.py), in the same way before each run. In each case it goes, with each connector,
first with --dry and then with -y. Compared are, droplet by droplet and in their order: the operations, how
each ended (or would), every command that was run, what failed operations said, what pyinfra printed, and with
what status it ended. Ends with 1 if anything differs. Cases
are merged into docs/both-ways.json, from which the page docs/both-ways.md is made.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench import both_page, compare
from bench.disturbances import CASES, NOTHING_TO_DO, WORDS, Case, Edit
from bench.progress import say
from bench.rooms import BIN, PROJECT, Rooms, apps_of
from bench.same import on
from bench.watch import STEPS
from smallfleet.connector.fast import COUNTS, PLAIN

WATCH = "watch.py"
SCRIPT = """from bench.watch import watch
from pyinfra import state

NEEDS_ACCOUNT = False  # it creates nothing: the script after it says whether the run does

watch(state)
"""
NOTHING = "nothing to change"
FIGURES = PROJECT / "docs/both-ways.json"


@dataclass
class Ran:
    """What a run of pyinfra did: its status, its steps, and the lines that it printed, sorted."""

    status: int
    steps: compare.Steps
    printed: list[str]


@dataclass
class Compared:
    """A case in both ways. `steps` are those of the run with -y through pyinfra's own connector."""

    case: Case
    steps: compare.Steps
    differences: list[str] = field(default_factory=list)


class Fleet:
    """The droplets of the rooms, and runs of deploy scripts on them."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.droplets = [*apps_of(rooms.count), "mongo"]
        (rooms.directory / WATCH).write_text(SCRIPT)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Make the edits, on all droplets at once and on each in their order."""
        scripts: dict[str, list[str]] = {}
        for edit in edits:
            for droplet in edit.on(self.droplets):
                scripts.setdefault(droplet, []).append(edit.command.replace("{app}", droplet))
        with ThreadPoolExecutor() as pool:
            texts = [(name, "set -e\n" + "\n".join(commands)) for name, commands in scripts.items()]
            list(pool.map(lambda one: on(self.rooms, *one), texts))

    def run(self, connector: str, case: Case, how: str) -> Ran:
        """Run the case's deploy through the connector `plain` or `fast`; `how` is --dry or -y."""
        steps, counts = self.rooms.directory / "steps.json", self.rooms.directory / "counts.jsonl"
        steps.unlink(missing_ok=True)
        counts.unlink(missing_ok=True)
        words = [self.rooms.inventory, WATCH, f"deploys/{case.deploy}.py", *case.words]
        done = subprocess.run(
            [str(BIN / "pyinfra"), *words, how],
            cwd=self.rooms.directory,
            env={
                **self.rooms.environment(),
                PLAIN: connector,
                STEPS: str(steps),
                COUNTS: str(counts),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if not steps.exists() or (done.returncode and not case.fails):
            raise SystemExit(
                f"{connector}: {' '.join(words)} {how} ended {done.returncode}\n{done.stderr[-4000:]}"
            )
        if not all(went(connector, json.loads(line)) for line in counts.read_text().splitlines()):
            raise SystemExit(
                f"{connector}: {' '.join(words)} {how} did not go that way: {counts.read_text()}"
            )
        return Ran(done.returncode, compare.read(steps.read_text()), lines(done.stdout + done.stderr))

    def compare(self, case: Case) -> Compared:
        """Run the case in both ways. The droplets are afterwards as the deploys make them."""
        found: dict[str, dict[str, Ran]] = {}
        for connector in ("plain", "fast"):
            self.edit(case.before)
            found[connector] = {how: self.run(connector, case, how) for how in ("--dry", "-y")}
            if case.title == NOTHING:  # once more: now all is asked ahead that was only learned before
                again = {how: self.run(connector, case, how) for how in ("--dry", "-y")}
                found[connector] |= {f"{how}, again": ran for how, ran in again.items()}
            self.edit(case.after)
        result = Compared(case, found["plain"]["-y"].steps)
        for how, plain in found["plain"].items():
            result.differences += [f"{how}: {line}" for line in differences(plain, found["fast"][how])]
        return result


def went(connector: str, counts: Mapping[str, int]) -> bool:
    """Whether a droplet was asked through the connector, by what that has counted."""
    if connector == "plain":
        return not counts["asked"] + counts["changes"] + counts["trips"]
    # Without a question there may be trips: what an earlier run has asked is asked ahead.
    asked_there = counts["trips"] > 0 or not counts["asked"]
    return asked_there and counts["plain"] <= counts["asked"] + counts["changes"]


def lines(printed: str) -> list[str]:
    """The lines, without colours and what is another in each run; sorted, as droplets work at once."""
    text = compare.alike(re.sub(r"\x1b\[[0-9;]*m", "", printed))
    found = sorted(line.rstrip() for line in text.splitlines() if line.strip())
    # A droplet that reboots is connected to every 0.2 s until it goes down: how often is chance.
    again = {f"    [{name}] Connected" for name in re.findall(r"\[(\S+)\] is back after ", text)}
    return [line for number, line in enumerate(found) if line not in again or line not in found[:number]]


def differences(plain: Ran, fast: Ran) -> list[str]:
    """What differs between two runs, a line each."""
    found = compare.differences(plain.steps, fast.steps)
    if plain.status != fast.status:
        found.append(f"status {plain.status} | {fast.status}")
    found += [f"printed {line}" for line in compare.changed_lines(plain.printed, fast.printed)]
    return found


def cases(deploys: Sequence[str]) -> list[Case]:
    """Those of the deploys, each deploy's first the one with nothing to change."""
    chosen = []
    for deploy in deploys:
        if deploy in NOTHING_TO_DO:
            chosen.append(Case(deploy, NOTHING, words=WORDS.get(deploy, ())))
        chosen += [case for case in CASES if case.deploy == deploy]
    return chosen


def every_deploy() -> list[str]:
    """The deploy scripts, those that patch and go back last."""
    names = sorted(path.stem for path in (PROJECT / "deploys").glob("*.py"))
    return sorted(names, key=lambda name: (name in ("rollback", "patch"), name))


def expect(result: Compared) -> None:
    """Ends the bench where a case has not done what it is about."""
    case, steps = result.case, result.steps
    changes, failed = compare.with_result(steps, ["changed"]), compare.with_result(steps, ["failed"])
    if case.title == NOTHING and changes:
        raise SystemExit(f"{case.deploy}: {changes} changes where there was nothing to change")
    if case.title != NOTHING and not changes + failed:
        raise SystemExit(f"{case.deploy}, {case.title}: no change where there was something to change")
    if bool(failed) != case.fails:
        raise SystemExit(f"{case.deploy}, {case.title}: {failed} operations have failed")


def keep(rows: Sequence[both_page.Row]) -> None:
    """Into the figures and the page."""
    order = [(case.deploy, case.title) for case in cases(every_deploy())]
    merged = both_page.merge(FIGURES, rows, order)
    there = {(one.deploy, one.case) for one in merged}
    both_page.write(merged, [key for key in order if key not in there], FIGURES.with_suffix(".md"))


def compared(fleet: Fleet, deploys: Sequence[str]) -> list[both_page.Row]:
    """All cases of the deploys, in both ways; each is kept when it is done."""
    rows = []
    for case in cases(deploys):
        if case.title == NOTHING:
            # There is, where another deploy's case has left something, or updates are pending for patch.
            fleet.run("fast", case, "-y")
        result = fleet.compare(case)
        expect(result)
        rows.append(both_page.row(result, len(fleet.droplets)))
        keep(rows)
        say(f"{case.deploy}, {case.title}: {len(result.differences)} differences")
        for line in result.differences:
            print(f"    {line}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--droplets", type=int, default=3, help="two or more; the last is MongoDB's")
    parser.add_argument("--deploys", nargs="+", choices=every_deploy(), default=every_deploy())
    parser.add_argument("--lab", default="both", help="the lab's name")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, for the next comparison")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rooms = Rooms(Path(directory), wanted.droplets, wanted.lab)
        try:
            rooms.up()
            say(f"{wanted.droplets} droplets: provisioning them")
            rooms.run("pyinfra", rooms.inventory, "deploys/site.py", "-y")
            rows = compared(Fleet(rooms), wanted.deploys)
        finally:
            os.chdir(PROJECT)
            if not wanted.keep:
                rooms.down()
    print(both_page.table(rows))
    return 1 if any(one.differences for one in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
