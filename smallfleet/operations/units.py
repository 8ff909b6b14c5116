"""systemd's units: their files, verified before they replace what systemd reads, and whether they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation

from smallfleet.facts.units import UnitStates
from smallfleet.operations import Commands
from smallfleet.operations.checked import show_diff
from smallfleet.operations.several import differing

DIRECTORY = "/etc/systemd/system"

# The candidates are verified under their own names, a template as an instance. What they would run is not
# looked for: a new app has no release yet, and a program that is missing there is for the release program
# to report.
VERIFY = (
    "room=$(mktemp -d) && {copies} && "
    "found=$(SYSTEMD_COLORS=0 systemd-analyze verify --man=no {paths} 2>&1 "
    "| grep -E '^({names}|'$room'/)' | grep -v 'is not executable: No such file'); "
    'rm -rf "$room"; test -z "$found" || ( echo "$found" >&2; exit 1 )'
)


def candidate(unit: str) -> str:
    """Where a unit waits for its verification: systemd passes over the name."""
    return f"{DIRECTORY}/.{unit}.candidate"


def verification(units: list[str]) -> str:
    """Shell command that says what systemd has against the candidates of the units; status 1 if it has."""
    instances = [unit.replace("@.", "@verified.") for unit in units]
    return VERIFY.format(
        copies=" && ".join(f"cp {candidate(unit)} $room/{unit}" for unit in units),
        paths=" ".join(f"$room/{instance}" for instance in instances),
        names="|".join(instance.replace(".", r"\.") for instance in instances),
    )


@operation()
def units(units: Mapping[str, str]) -> Commands:
    """
    Put the files of units that belong together in place, if systemd has nothing to say against any of them,
    and have it read them.

    + units: {name: text}: {"podcast@.service": "[Unit]..."}
    """
    paths = {f"{DIRECTORY}/{unit}": text for unit, text in units.items()}
    changed = [path.removeprefix(f"{DIRECTORY}/") for path in differing(paths, "644")]
    if not changed:
        host.noop("the units are as they should be")
        return
    candidates = [QuoteString(candidate(unit)) for unit in changed]
    for unit in changed:
        show_diff(f"{DIRECTORY}/{unit}", units[unit])
        yield FileUploadCommand(StringIO(units[unit]), candidate(unit))
    yield StringCommand(
        *("chown", "root:root", *candidates, "&&", "chmod", "644", *candidates, "&&"),
        *("{", f"{verification(changed)};", "}"),
        *("||", "{", "status=$?;", "rm", "-f", *candidates, ";", "exit", "$status;", "}"),
    )
    moves = [
        ("mv", "-f", QuoteString(candidate(unit)), QuoteString(f"{DIRECTORY}/{unit}")) for unit in changed
    ]
    yield StringCommand(*(word for move in moves for word in (*move, "&&")), "systemctl", "daemon-reload")


@operation()
def kept(unit: str, running: bool | None = True, enabled: bool = True, known: Sequence[str] = ()) -> Commands:
    """
    Have a unit run, and start with the droplet, as pyinfra's `systemd.service` does.

    + unit: its name with its kind ("nginx.service")
    + running: None leaves it as it is
    + enabled: whether it starts with the droplet
    + known: all that are looked after on the droplet (`Context.units`), so that all who ask ask the same
    """
    asked = dict.fromkeys([*(one for one in known if "@." not in one), unit])  # a template has no state
    there = host.get_fact(UnitStates, units=list(asked)).get(unit, {"running": False, "enabled": False})
    right = running in (None, there["running"])
    if right and there["enabled"] == enabled:
        host.noop(f"{unit} is as it should be")
    if not right:
        yield StringCommand("systemctl", "start" if running else "stop", QuoteString(unit))
    if there["enabled"] != enabled:
        yield StringCommand("systemctl", "enable" if enabled else "disable", QuoteString(unit))
