"""What kind of machine the droplet is, and what its kernel filters."""

from __future__ import annotations

from pyinfra.api import FactBase


class Container(FactBase[str | None]):
    """The kind of container the droplet is ("systemd-nspawn"), None for a machine with its own kernel.

    A container has neither swap nor a clock of its own.
    """

    def command(self) -> str:
        return "systemd-detect-virt --container || true"

    def process(self, output: list[str]) -> str | None:
        kind = output[0].strip() if output else "none"
        return None if kind in ("none", "") else kind


class NftTables(FactBase[list[str]]):
    """The tables that the kernel has, as nft names them: `inet smallfleet`."""

    default = list

    def command(self) -> str:
        return "if command -v nft >/dev/null; then nft list tables; fi"

    def process(self, output: list[str]) -> list[str]:
        return [line.removeprefix("table ").strip() for line in output if line.startswith("table ")]


class Swaps(FactBase[list[str]]):
    """The files and devices that are swapped to."""

    default = list

    def command(self) -> str:
        return "tail -n +2 /proc/swaps"

    def process(self, output: list[str]) -> list[str]:
        return [line.split()[0] for line in output if line.strip()]
