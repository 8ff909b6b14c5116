"""Whether two runs did the same: operation by operation, droplet by droplet, command by command."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Steps = Mapping[str, Sequence[Mapping[str, Any]]]  # by droplet, see bench/watch.py

# What is another in each run, whoever makes it: {what it is: (regular expression, what stands for it)}.
OWN = {
    "a release's name, which has its time": (r"\b\d{8}-\d{6}-[0-9a-f]{8}\b", "RELEASE"),
    "the random name of an undo": (r"(?<= arm )[0-9a-f]{12}\b|(?<=call confirm\()[0-9a-f]{12}\b", "UNDO"),
    "how long a reboot took": (r"(?<= is back after )\d+\.\d(?= s)", "SECONDS"),
}


def alike(text: str) -> str:
    """The text without what is another in each run."""
    for pattern, word in OWN.values():
        text = re.sub(pattern, word, text)
    return text


def differences(one: Steps, other: Steps) -> list[str]:
    """What differs, a line for each operation or command; [] for two runs that did the same."""
    found = [f"{droplet}: in one run alone" for droplet in sorted(one.keys() ^ other.keys())]
    for droplet in one:
        if droplet in other:
            found += [f"{droplet}: {line}" for line in _differences(one[droplet], other[droplet])]
    return found


def _differences(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [[step["operation"] for step in steps] for steps in (one, other)]
    if names[0] != names[1]:
        return [f"other operations: {line}" for line in changed_lines(*names)]
    found = []
    for mine, its in zip(one, other, strict=True):
        if mine["result"] != its["result"]:
            found.append(f"{mine['operation']}: {mine['result']} | {its['result']}")
        if "failed" in (mine["result"], its["result"]):
            said = [[alike(line) for line in step["said"]] for step in (mine, its)]
            found += [f"{mine['operation']}: said {line}" for line in changed_lines(*said)]
        commands = [[alike(command) for command in step["commands"]] for step in (mine, its)]
        found += [f"{mine['operation']}: command {line}" for line in changed_lines(*commands)]
    return found


def changed_lines(one: list[str], other: list[str]) -> list[str]:
    return [line for line in difflib.ndiff(one, other) if line[:2] in ("- ", "+ ")]


def count(steps: Steps) -> int:
    """The operations of a run, each counted on each droplet."""
    return sum(len(found) for found in steps.values())


def with_result(steps: Steps, results: Iterable[str]) -> int:
    """How many of them ended so."""
    return sum(step["result"] in set(results) for found in steps.values() for step in found)


def commands(steps: Steps) -> int:
    """How many commands were run."""
    return sum(len(step["commands"]) for found in steps.values() for step in found)


def read(text: str) -> Steps:
    """What `bench.watch` wrote."""
    return dict(json.loads(text))
