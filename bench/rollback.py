"""How long a rollback takes as a whole command: `fleet rollback`, and pyinfra with deploys/rollback.py.

    fleet lab up && pyinfra inventory/lab.py deploys/site.py -y
    pyinfra inventory/lab.py deploys/webapp.py -y --limit podcast --data force=true      # a second release
    python bench/rollback.py inventory/lab.py podcast --runs 5

In turn, so that what else the machine does meets both. Between two runs it goes forward again, unmeasured.
Prints seconds as the owner waits for them, and those of the release program on the droplet.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
SAID = re.compile(r"serves, \S+ was left; it took ([0-9.]+) s")


def run(*words: str) -> tuple[float, str]:
    """Seconds of one command of the venv, and what it said; SystemExit if it fails."""
    began = time.monotonic()
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env={**os.environ, "PYINFRA_PROGRESS": "off"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended {done.returncode}:\n{done.stdout}")
    return seconds, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("inventory")
    parser.add_argument("role")
    parser.add_argument("--runs", type=int, default=5)
    wanted = parser.parse_args()
    listed = run("fleet", "releases", wanted.role, "-i", wanted.inventory, "--json")[1]
    rows = next(iter(json.loads(listed).values()))
    there = [row["release"] for row in rows if row["there"] and row["health"] == "healthy"]
    if len(there) < 2:
        sys.exit(f"{wanted.role} has no two releases: see above for how it gets a second one")
    newest, back = there[0], ["fleet", "rollback", wanted.role, "-i", wanted.inventory]
    script = ["pyinfra", wanted.inventory, "deploys/rollback.py", "--limit", wanted.role, "-y"]
    ways = {"fleet rollback": back, "pyinfra deploys/rollback.py": script}
    figures: dict[str, list[float]] = {name: [] for name in [*ways, "on the droplet"]}
    for _ in range(wanted.runs):
        for name, words in ways.items():
            run(*script, "--data", f"role={wanted.role}", "--data", f"release={newest}")
            time.sleep(3)  # the release that was left ends
            seconds, said = run(*words, *(["-v"] if words[0] == "pyinfra" else []))
            figures[name].append(seconds)
            figures["on the droplet"] += [float(found) for found in SAID.findall(said)]
    run(*script, "--data", f"role={wanted.role}", "--data", f"release={newest}")
    print(f"seconds of {wanted.runs} runs each; load {os.getloadavg()[0]:.1f} at the end")
    for name, seen in figures.items():
        if seen:
            each = " ".join(f"{one:.2f}" for one in seen)
            print(f"  {name:<28} median {statistics.median(seen):.2f}  ({each})")


if __name__ == "__main__":
    main()
