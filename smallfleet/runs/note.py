"""What a run says of itself: who started it, what it is, and since when."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from smallfleet.model.fleet import Fleet
from smallfleet.secrets.secret import MASK
from smallfleet.who import who

# id, fleet, who, command, inventory, limit, commit, began, ended, seconds, result, droplets: see `begin`
Note = dict[str, Any]

TELLING = re.compile(r"pass|secret|token|key", re.IGNORECASE)


def now() -> datetime:
    return datetime.now(UTC)


def stamp(time: datetime) -> str:
    """A time as records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: str) -> datetime:
    """The time that `stamp` wrote. ValueError if it is none."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def commit() -> str | None:
    """The commit of the repository in the working directory, with + if files differ from it; None without."""
    words = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
        return done.stdout.strip() or None
    return None


def said(words: Sequence[str]) -> str:
    """A command line without the values of its options and arguments that may be secret."""
    told = []
    hide = False
    for word in words:
        name, equals, _ = word.partition("=")
        if hide:
            told.append(MASK)
        elif equals and TELLING.search(name):
            told.append(f"{name}={MASK}")
        else:
            told.append(word if word == MASK else shlex.quote(word))
        hide = not equals and word.startswith("--") and "password" in word and not word.endswith("prompt")
    return " ".join(told)


def begin(fleet: Fleet, words: Sequence[str], limit: Iterable[str]) -> Note:
    """The note of a run that begins now. `words`: its command line; `limit`: its droplets."""
    began = now()
    return {
        # Sorts by time, to the millisecond: a run may end within the second in which it began, and another
        # begin. The rest tells two of one millisecond apart.
        "id": f"{began:%Y%m%dT%H%M%SZ}-{began.microsecond // 1000:03d}{secrets.token_hex(2)}",
        "fleet": fleet.name,
        "who": who(),
        "command": said(words),
        "inventory": fleet.inventory,
        "limit": sorted(limit),
        "commit": commit(),
        "began": stamp(began),
        "ended": None,
        "seconds": None,
        "result": None,
        "droplets": {},
    }


def age(time: str) -> float:
    """Seconds since a time of a record, by this machine's clock; infinite if it is no time."""
    try:
        return max((now() - time_of(time)).total_seconds(), 0.0)
    except ValueError:
        return float("inf")


def ago(time: str) -> str:
    """How long a time of a record is past, for people."""
    seconds = age(time)
    if seconds == float("inf"):
        return "an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def turn_of(note: Note) -> str:
    """Whose turn it is, as a sentence's beginning."""
    if not note.get("who"):
        return "another run has its turn"
    return f"it is the turn of {note['who']}: {note['command']}, for {ago(note['began'])} (run {note['id']})"
