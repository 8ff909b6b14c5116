"""The table of faults: what each costs visitors, what the owner is told, how long until all is as before.

    python bench/faults.py --output docs/faults.md                 # all: some twenty minutes
    python bench/faults.py --output docs/faults.md safety cut      # these tests; other rows stay as they are

As root on an otherwise idle machine, in labs of its own. It runs the tests that cause the faults and judge
what comes of them (tests/lab/test_*.py), each of which leaves a row. A test that fails leaves no rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
TESTS = ("redeploy", "releases", "batches", "safety", "lockout", "cut", "runs")
KEPT = Path("bench/faults.json")  # {test: {"date", "rows"}}, so that one test can be run again
HEAD = """# Faults, and what they cost

Each row is one fault, caused in the lab on real droplets by a test that also judges what comes of it.
Requests are those of visitors who were there all the time, on kept and on new connections; none was sent
twice. Made by

    python bench/faults.py --output docs/faults.md

on {date}, on a virtual machine with {processors} processors and {memory} GiB of memory
(Python {python}, {system}), whose load was {load:.0f} before: times are longer on a busy machine,
what is lost is the same.

- "Run": the seconds that the owner waited until he was told; for a run that was cut off, until the next run
  had completed it.
- "Back": the seconds from the first failed request (for a lock-out: from the arming of the undo) until all
  was as before; a dash where it was never otherwise. In the lab the undo of a lock-out waits 10 s, not 60.
- What the owner is told is shortened here.
"""
NOTES = {
    "A bad configuration": """A wrong upstream that is reached over TCP, and an address that MongoDB cannot
listen on, show only when the real program runs with them: a second NGINX in a network of its own cannot reach
the one, and a second mongod cannot have the first one's address. Visitors meet these from the change until it
is undone.""",
    "A lock-out": """While the droplet boots nobody is served: the requests that failed in the reboot are
those of the boot itself.""",
    "A run cut off": """Here, too, the requests that failed in the reboot are those of the boot itself.""",
}


def made() -> dict[str, Any]:
    """What is kept of the tests that were run before."""
    kept = PROJECT / KEPT
    return dict(json.loads(kept.read_text())) if kept.exists() else {}


def run_test(name: str) -> bool:
    """Run a test and keep its rows; whether it passed."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / name
        words = [sys.executable, "-m", "pytest", "-q", f"tests/lab/test_{name}.py"]
        done = subprocess.run(words, cwd=PROJECT, env={**os.environ, "SMALLFLEET_FAULTS": str(file)})
        if done.returncode:
            print(f"tests/lab/test_{name}.py failed: its rows are not written", file=sys.stderr)
            return False
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    kept = made() | {name: {"date": time.strftime("%Y-%m-%d"), "rows": rows}}
    (PROJECT / KEPT).write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return True


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def table(rows: list[dict[str, Any]]) -> str:
    """The whole page but its head: a table for each part, and the sum of the requests."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    lines = []
    for part, some in parts.items():
        head = "| fault | caused by | sent | failed | the owner is told | run | back |"
        lines += ["", f"## {part}", "", head, "|---|---|--:|--:|---|--:|--:|"]
        for row in some:
            sent, failed = ("–" if row[key] is None else f"{row[key]:,}" for key in ("sent", "failed"))
            words = [row["fault"], row["cause"], sent, failed, row["told"]]
            lines.append(
                f"| {' | '.join(map(cell, words))} | {seconds(row['run'])} | {seconds(row['back'])} |"
            )
        if part in NOTES:
            lines += ["", NOTES[part]]
    sent, failed = (sum(row[key] or 0 for row in rows) for key in ("sent", "failed"))
    whole = f"In all {len(rows)} faults: {sent:,} requests, of which {failed:,} failed."
    return "\n".join([*lines, "", whole, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tests", nargs="*", metavar="TEST", help=" ".join(TESTS))
    parser.add_argument("--output", type=Path, required=True)
    wanted = parser.parse_args()
    if unknown := set(wanted.tests) - set(TESTS):
        parser.error(f"no such test: {', '.join(sorted(unknown))}")
    load = os.getloadavg()[0]
    passed = all([run_test(name) for name in wanted.tests or TESTS])
    kept = made()
    dates = sorted({test["date"] for test in kept.values()})
    head = HEAD.format(
        date=" and ".join(dates),
        load=load,
        processors=os.cpu_count(),
        memory=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
    )
    rows = [row for name in TESTS if name in kept for row in kept[name]["rows"]]
    wanted.output.write_text(head + table(rows))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
