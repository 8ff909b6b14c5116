"""The figures of the benchmark: one JSON file, into which each measurement is merged by what was measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.ways import Run


@dataclass
class Figure:
    """What was measured of one way. `seconds` are the runs, `cpu` those of the client's processors in each.

    `row`: "dry", "nothing" (to change), "template" (one changed), "first" (from nothing). `delay`: ms added
    to the round trip. `wire`, per droplet: turns (round trips), out, in (bytes). `load`: the machine's before
    the first run, of one minute. `date`: of the last run.
    """

    droplets: int
    row: str
    delay: int
    way: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    changes: list[int | None] = field(default_factory=list)
    wire: dict[str, float] = field(default_factory=dict)
    load: float = 0.0
    machine: str = ""
    date: str = ""

    def add(self, run: Run) -> None:
        """One more run."""
        self.seconds.append(round(run.seconds, 3))
        self.cpu.append(round(run.cpu, 2))
        self.changes.append(run.changes)

    @property
    def key(self) -> tuple[int, str, int, str]:
        return self.droplets, self.row, self.delay, self.way

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def cell(self) -> str:
        """For a table: the median, and the least and the most."""
        if not self.seconds:
            return ""
        digits = 2 if self.median < 100 else 0
        if len(self.seconds) == 1:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({min(self.seconds):.{digits}f} to {max(self.seconds):.{digits}f})"


class Results:
    """The figures in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        said = json.loads(path.read_text())["figures"] if path.exists() else []
        self.figures = {figure.key: figure for figure in (Figure(**one) for one in said)}

    def figure(self, droplets: int, row: str, delay: int, way: str) -> Figure | None:
        return self.figures.get((droplets, row, delay, way))

    def begin(self, droplets: int, row: str, delay: int, way: str, add: bool = False) -> Figure:
        """A figure in the place of the one that was measured before, of which only the counts of the wire
        stay; with `add` that one, for more runs. Ends the benchmark where that is of another machine.
        """
        before = self.figure(droplets, row, delay, way)
        if add and before and before.seconds:
            if before.machine != machine():
                raise SystemExit(
                    f"{self.path}: --add is for runs on the same machine, which was {before.machine}"
                )
            figure = before
        else:
            figure = Figure(droplets, row, delay, way, wire=before.wire if before else {})
            figure.load, figure.machine = os.getloadavg()[0], machine()
        figure.date = datetime.now(UTC).date().isoformat()
        return figure

    def put(self, figure: Figure) -> None:
        """Keep it, on the disk at once: a long measurement may be cut off."""
        self.figures[figure.key] = figure
        said = {"figures": [asdict(self.figures[key]) for key in sorted(self.figures)]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(said, indent=1) + "\n")


def machine() -> str:
    """What the figures are measured on."""
    cpu = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.split(",")[0]
    return (
        f"{os.cpu_count()} processors ({cpu}), {memory:.0f} GiB of memory, Linux {platform.release()}, "
        f"Python {platform.python_version()}, pyinfra {version('pyinfra')}, {ssh}"
    )
