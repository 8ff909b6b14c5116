"""systemd units that are verified before they replace what systemd reads."""

from __future__ import annotations

from pathlib import PurePosixPath

from pyinfra.api import operation

from smallfleet.operations import Commands, checked

DIRECTORY = "/etc/systemd/system"

# The candidate is verified under its own name, a template as an instance. What it would run is not looked
# for: a new app has no release yet, and a program that is missing there is the release program's to report.
VERIFY = (
    "room=$(mktemp -d) && cp {candidate} $room/NAME && "
    "found=$(SYSTEMD_COLORS=0 systemd-analyze verify --man=no $room/INSTANCE 2>&1 "
    "| grep -E '^(INSTANCE|'$room'/)' | grep -v 'is not executable: No such file'); "
    'rm -rf "$room"; test -z "$found" || ( echo "$found" >&2; exit 1 )'
)


@operation()
def unit(unit: str, content: str) -> Commands:
    """Put a unit's file in place, if systemd has nothing to say against it; systemd is not told to read it.

    + unit: its name, "podcast@.service"
    + content: the text
    """
    check = VERIFY.replace("INSTANCE", unit.replace("@.", "@verified.")).replace("NAME", unit)
    dest = str(PurePosixPath(DIRECTORY) / unit)
    yield from checked.file._inner(dest=dest, content=content, check=check)
