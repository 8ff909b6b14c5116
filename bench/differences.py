"""What differs between two fleets, and which of it has a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# By "part: name" of bench/snapshot.py. The two fleets are in labs of their own, one made after the other.
REASONS = {
    r"files: /etc/(machine-id|ssh/ssh_host_\S+)": "each droplet has its own",
}


def differences(
    one: Mapping[str, Mapping[str, Mapping[str, str]]], other: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> list[str]:
    """A line for each thing that differs: droplet, part, name, the one's, the other's."""
    found = []
    for droplet, parts in one.items():
        for part, mine in parts.items():
            its = other[droplet][part]
            found += [
                f"{droplet}: {part}: {name}: {mine.get(name)} | {its.get(name)}"
                for name in sorted(mine.keys() | its.keys())
                if mine.get(name) != its.get(name)
            ]
    return found


def unexplained(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not any(re.match(rf"\S+: {reason}(: |$)", line) for reason in REASONS)]
