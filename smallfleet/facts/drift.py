"""What somebody has changed by hand beside the files that the deploys write."""

from __future__ import annotations

import re
from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.facts.deb import DebPackages

HELD = re.compile(r"h[a-zA-Z]{1,2}")  # wanted: hold; then its state, and an error if there is one


class HeldPackages(DebPackages):
    """The packages that are held back from upgrades, by dpkg's word: `hi nginx 1.22.1 …`.

    The question is that of `apt.packages`, so that a droplet starts no program of its own for it.
    """

    default = list  # type: ignore[assignment]

    def process(self, output: list[str]) -> list[str]:
        words = (line.split() for line in output)
        return [state[1] for state in words if len(state) > 2 and HELD.fullmatch(state[0])]


class People(FactBase[dict[str, bool]]):
    """The users that are people (numbers from 1000), and whether each may log in: its account goes on."""

    default = dict

    def command(self) -> str:
        people = "NR == FNR { if ($3 >= 1000 && $3 < 60000) people[$1]; next }"
        return f"awk -F: '{people} $1 in people {{ print $1, $8 }}' /etc/passwd /etc/shadow"

    def process(self, output: list[str]) -> dict[str, bool]:
        words = [line.split() for line in output if line.strip()]
        return {name: rest != ["1"] for name, *rest in words}


class StrayDropIns(FactBase[list[str]]):
    """Drop-ins of the systemd units `units` in /etc that are not ours, which are called smallfleet*.conf."""

    default = list

    def command(self, units: list[str]) -> StringCommand:
        directories = [QuoteString(f"/etc/systemd/system/{unit}.d") for unit in units]
        words = ("-maxdepth", "1", "-name", "'*.conf'", "!", "-name", "'smallfleet*'", "2>/dev/null")
        return StringCommand("find", *directories, *words, "||", "true")

    def process(self, output: list[str]) -> list[str]:
        return sorted(line for line in output if line)


class Filtering(TypedDict):
    """How the kernel's rules differ from the file's."""

    differs: bool  # our table is not what the file would load
    strays: list[str]  # tables that the file does not load, as nft names them


class NftDrift(FactBase[Filtering]):
    """How the kernel's rules differ from those that `file` loads, its `table` above all.

    What the file would load is seen by loading it in a network namespace of its own, which goes at once.
    """

    @staticmethod
    def default() -> Filtering:
        return Filtering(differs=False, strays=[])

    def command(self, file: str, table: str) -> StringCommand:
        listed = f"nft -s list table {table} 2>/dev/null | sha256sum"
        loaded = f"unshare -n sh -c 'nft -f {file} && nft -s list table {table}' | sha256sum"
        commands = f"{{ echo now $({listed}); echo wanted $({loaded}); nft list tables; }}"
        return StringCommand(
            *("if", "command", "-v", "nft", ">/dev/null", "&&", "grep", "-q", QuoteString(table)),
            *(QuoteString(file), "2>/dev/null;", "then", f"{commands}; echo our {table};", "fi"),
        )

    def process(self, output: list[str]) -> Filtering:
        said = dict(line.split(maxsplit=1) for line in output if not line.startswith("table "))
        tables = [line.removeprefix("table ").strip() for line in output if line.startswith("table ")]
        return Filtering(
            differs=said["now"] != said["wanted"], strays=[name for name in tables if name != said["our"]]
        )
