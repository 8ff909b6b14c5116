"""What kind of machine the droplet is, and what its kernel filters."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand


class Container(FactBase[str | None]):
    """The kind of container the droplet is ("systemd-nspawn"), None for a machine with its own kernel.

    A container has neither swap nor a clock of its own.
    """

    def command(self) -> str:
        return "cat /run/systemd/container 2>/dev/null || true"  # where systemd says it, and reads it

    def process(self, output: list[str]) -> str | None:
        return output[0].strip() or None if output else None


class CloudInit(FactBase[str]):
    """What cloud-init is at: "running", "done", "error", "disabled"; "absent" where there is none.

    `cloud-init status` says it in a line `status: running`, once it has started Python. It is not asked where
    cloud-init has left its result, which is the last that it does.
    """

    def command(self) -> str:
        done = "if test -e /run/cloud-init/result.json; then echo 'status: done'"
        asked = "elif command -v cloud-init >/dev/null; then cloud-init status"
        return f"{done}; {asked}; else echo 'status: absent'; fi || true"

    def process(self, output: list[str]) -> str:
        found = [line.partition(":")[2].strip() for line in output if line.startswith("status:")]
        return found[0] if found else "absent"


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


class Outdated(FactBase[bool]):
    """Whether the running `service` was started before one of `files` was changed: it has not read it.

    So a run that was cut off between a config and its restart is made good by the next one.
    """

    def command(self, service: str, files: list[str]) -> StringCommand:
        paths = [QuoteString(path) for path in files]
        return StringCommand(
            *(
                "systemctl",
                "show",
                "--timestamp=unix",
                "--value",
                "-p",
                "ActiveEnterTimestamp",
                QuoteString(service),
            ),
            *(";", "stat", "-c", "%Z", *paths, "2>/dev/null", "||", "true"),
        )

    def process(self, output: list[str]) -> bool:
        started, *changed = [line.strip().removeprefix("@") for line in output] or [""]
        return started.isdigit() and any(int(time) > int(started) for time in changed if time.isdigit())
