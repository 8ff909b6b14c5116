"""What each fault cost: a line of JSON for each, in the file that $SMALLFLEET_FAULTS names, if it names one.

`bench/faults.py` runs the tests with it and makes docs/faults.md of the lines.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.visitors import Crowd

FILE = "SMALLFLEET_FAULTS"
MOST = 240  # characters of what the owner was told


@dataclass
class Cost:
    """One fault. `back`: seconds until all was as before, or None where it was never otherwise."""

    part: str  # of the table: "a bad release", …
    fault: str
    cause: str  # what was done to cause it
    sent: int | None  # requests; None where there is no site
    failed: int | None
    told: str  # the owner, in the words of the run
    run: float  # seconds that the run took until it said so
    back: float | None = None


def record(cost: Cost) -> None:
    """Add the fault to the table, if one is made."""
    print(f"\n{cost.part}: {cost.fault}: {cost.failed} of {cost.sent} failed, {cost.run:.1f} s; {cost.told}")
    if path := os.environ.get(FILE):
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(cost)) + "\n")


def told(said: str, *words: str) -> str:
    """Of what a run said, the first line with each of the words, as the owner reads it."""
    lines = [re.sub(r"^\s*(\[\w+\]\s*)?", "", line).strip() for line in said.splitlines()]
    found = []
    for word in words:
        line = next((line for line in lines if word in line), word)
        if line not in found:
            found.append(line)
    text = " … ".join(found)
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def outage(crowd: Crowd) -> float | None:
    """Seconds from the first request that failed to the first one after the last that did; None for none."""
    failed = [answer.at for answer in crowd.failed]
    if not failed:
        return None
    after = [one.at for one in crowd.answers if one.fault is None and one.at > max(failed)]
    return min(after, default=crowd.now()) - min(failed)


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """The seconds that what is in the block took."""
    began = time.monotonic()
    ended: list[float] = []
    yield lambda: (ended[0] if ended else time.monotonic()) - began
    ended.append(time.monotonic())
