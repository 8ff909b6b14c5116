"""What is kept: releases to go back to, records of those that were refused, and what is held back."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smallfleet.programs.release.app import UNITS, App, ReleaseError, read_json, write_json
from smallfleet.programs.release.health import fault
from smallfleet.programs.release.system import disable, discard, running

RECORDS = 20  # of refused releases


def now() -> str:
    """The time in UTC, as records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def note_of(app: App, release: str | None) -> dict[str, Any]:
    """What a whole release says of itself: {release, commit, inputs, ref, author, time, health}; {} for none.

    `health`: "tried" until its watch is over, then "healthy", "switched back" or "unhealthy" (which no other
    release was there to take over from).
    """
    return read_json(app.releases / release / ".release.json") if release else {}


def write_note(app: App, note: Mapping[str, Any]) -> None:
    write_json(app.releases / str(note["release"]) / ".release.json", dict(note))


def record_refused(app: App, note: Mapping[str, Any], reason: str) -> None:
    """Leave a record of a release that is gone, or was switched back from; the newest few are kept."""
    write_json(app.records / f"{note['release']}.json", {**note, "reason": reason}, 0o600)
    for old in sorted(app.records.glob("2*.json"))[:-RECORDS]:
        old.unlink()


# ---- what is held back: commits that were gone back from, and the configuration of that moment


def held(app: App) -> dict[str, Any]:
    """What no deploy does again by itself: {commits, inputs, from, to, why, author, time}; {} for nothing.

    It holds until the ref names another commit, or a deploy is forced.
    """
    return read_json(app.records / "held.json")


def hold(app: App, old: str, new: str, why: str, author: str) -> None:
    """Hold back the release `old`, from which it was gone back to `new`."""
    left, wanted = note_of(app, old).get("commit"), note_of(app, new).get("commit")
    commits = {*held(app).get("commits", []), left}
    if left != wanted:  # else the two differ in configuration alone
        commits.discard(wanted)
    values = {"commits": sorted(commits), "inputs": app.inputs(), "from": old, "to": new, "why": why}
    write_hold(app, {**values, "author": author, "time": now()})


def write_hold(app: App, values: Mapping[str, Any]) -> None:
    """Hold back what `values` say; nothing if they are empty."""
    if values:
        write_json(app.records / "held.json", dict(values), 0o600)
    else:
        (app.records / "held.json").unlink(missing_ok=True)


# ---- going


def forget(app: App, release: str) -> None:
    """Remove all of a release that does not run."""
    disable(app.unit(release))
    discard(app.unit(release))
    (UNITS / app.unit(release)).unlink(missing_ok=True)
    shutil.rmtree(app.releases / release, ignore_errors=True)


def clear_leftovers(app: App) -> None:
    """Remove what a deploy that was killed left: its candidate, and its directory."""
    for directory in app.releases.iterdir():
        if directory.name != app.current and not (directory / ".release.json").exists():
            discard(app.candidate(directory.name), kill=True)
            forget(app, directory.name)
    for unit in UNITS.glob(f"{app.name}@2*.service"):
        if not (app.releases / unit.stem.partition("@")[2]).exists():
            forget(app, unit.stem.partition("@")[2])
    clear_venvs(app)
    for archive in app.root.glob(".*.tar"):
        archive.unlink()


def prune(app: App, current: str) -> None:
    """Remove the oldest releases that are too many or too big; the current one always stays."""
    releases = sorted(path.name for path in app.releases.iterdir())
    for release in stale(releases, current, app.keep, app.keep_bytes, lambda some: size_of(app, some)):
        forget(app, release)
    clear_venvs(app)


def clear_venvs(app: App) -> None:
    """Remove the venvs that no release has."""
    used = {path.readlink().name for path in app.releases.glob("*/.venv") if path.is_symlink()}
    for venv in app.venvs.glob("*"):
        if venv.name not in used:
            shutil.rmtree(venv)


def stale(
    releases: Sequence[str],
    current: str,
    keep: int,
    keep_bytes: int | None = None,
    size: Callable[[Sequence[str]], int] = len,
) -> list[str]:
    """Of releases from old to new, those that go. `keep` counts the current one; `size` is of some, in bytes.

    For the disk's sake all go but the current one and the newest other: there is always a way back.
    """
    others = [release for release in releases if release != current]
    gone = others[: max(0, len(others) - max(0, keep - 1))]
    left = others[len(gone) :]
    while keep_bytes and len(left) > 1 and size([*left, current]) > keep_bytes:
        gone.append(left.pop(0))
    return gone


def size_of(app: App, releases: Sequence[str]) -> int:
    """Bytes of disk that these releases take, with the venvs that they share."""
    roots = {(app.releases / release).resolve() for release in releases}
    roots |= {(root / ".venv").resolve() for root in roots}
    places = (place for root in roots for place in os.walk(root))
    return sum((Path(place) / name).lstat().st_blocks * 512 for place, _, names in places for name in names)


# ---- looking


def earlier(app: App, current: str | None, wanted: str | None = None) -> str:
    """The release to go back to: `wanted` (a release or the beginning of its commit), else the one before."""
    notes = [note_of(app, path.name) for path in app.releases.iterdir()]
    known = sorted(str(note["release"]) for note in notes if note)
    if wanted is not None:
        found = [
            str(note["release"])
            for note in notes
            if note and (note["release"] == wanted or str(note["commit"]).startswith(wanted))
        ]
        if not found:
            raise ReleaseError(f"There is no release {wanted}. There are: {', '.join(known) or 'none'}.")
        return max(found)
    good = [
        str(note["release"])
        for note in notes
        if note and note.get("health", "healthy") == "healthy" and str(note["release"]) < (current or "~")
    ]
    if not good:
        raise ReleaseError(f"There is no release before {current}. There are: {', '.join(known) or 'none'}.")
    return max(good)


def listing(app: App) -> list[dict[str, Any]]:
    """All releases and all records of refused ones, newest first; `serves`: it is the one that runs."""
    rows: dict[str, dict[str, Any]] = {}
    for path in app.records.glob("2*.json"):
        rows[path.stem] = {**read_json(path), "there": False}
    for path in app.releases.iterdir():
        if note := note_of(app, path.name):
            rows[path.name] = {**rows.get(path.name, {}), **note, "there": True}
    up = running(app)
    for name, row in rows.items():
        row["serves"] = name == app.current and name in up
        if row["serves"]:
            wrong = fault(app, app.socket(name), 5.0)
            row["health"] = "healthy" if wrong is None else f"not healthy: {wrong}"
    return [rows[name] for name in sorted(rows, reverse=True)]
