"""What can be done with an app's releases: status, deploy, rollback."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from smallfleet.programs.release.app import App, ReleaseError
from smallfleet.programs.release.building import (
    build,
    export,
    fetch,
    furnish,
    new_name,
    remote_commit,
    set_up,
)
from smallfleet.programs.release.environment import (
    give_back_environment,
    hide,
    keep_environment,
    take_environment,
)
from smallfleet.programs.release.health import watch
from smallfleet.programs.release.keeping import (
    clear_leftovers,
    clear_venvs,
    earlier,
    forget,
    held,
    hold,
    note_of,
    now,
    prune,
    record_refused,
    write_hold,
    write_note,
)
from smallfleet.programs.release.switching import switch, try_out
from smallfleet.programs.release.system import enabled, running


def reasons(app: App, note: Mapping[str, Any], back: Mapping[str, Any], remote: str | None) -> list[str]:
    """Why a deploy would do work, from what serves (`note`), what is held `back` and what the ref names."""
    if not note:
        return ["there is no release yet"]
    found = []
    is_held = is_back(back, remote)
    if remote is not None and remote != note["commit"] and not is_held:
        found.append(f"{app.ref} is now {remote[:8]}")
    inputs = app.inputs()
    if inputs != note["inputs"] and not (is_held and inputs == back["inputs"]):
        found.append("its configuration changed")
    if running(app) != [note["release"]] or enabled(app) != {note["release"]}:
        found.append("the current release is not the one that runs")
    health = note.get("health", "healthy")
    if health == "tried":
        found.append("its watch was cut off")
    elif health != "healthy" and not is_held:
        found.append("it turned bad in its watch")
    return found


def is_back(back: Mapping[str, Any], remote: str | None) -> bool:
    """Whether what the ref names is held back; what it named last is, when nobody can say what it names."""
    return bool(back) and (remote is None or remote in back["commits"])


def status(app: App) -> dict[str, Any]:
    """`changed` says why a deploy would do work; empty when it would not. `held` is said to the owner."""
    note, back = note_of(app, app.current), held(app)
    try:
        commit, trouble = remote_commit(app), None
    except ReleaseError as error:
        commit, trouble = None, str(error)
    why = reasons(app, note, back, commit)
    if commit is None and trouble is None and note:
        why.append(f"{app.ref} is not at {app.repository}")
    return {
        "release": note.get("release"),
        "commit": note.get("commit"),
        "remote": commit,
        "trouble": trouble,
        "changed": why,
        "held": said(back) if is_back(back, commit) else None,
        "health": note.get("health"),
    }


def said(back: Mapping[str, Any]) -> str:
    commits = ", ".join(commit[:8] for commit in back["commits"])
    return f"{commits} is held back: {back['why']} from {back['from']} by {back['author']} at {back['time']}"


def deploy(app: App, author: str, force: bool) -> str:
    """Release what the ref names now; what came of it. On ReleaseError the old one serves on.

    What is held back is not done again unless it is forced: the commit that serves then is released anew when
    its configuration changed.
    """
    clear_leftovers(app)
    if force:
        write_hold(app, {})
    note, back = note_of(app, app.current), held(app)
    commit = fetch(app)
    why = reasons(app, note, back, commit)
    if note and (not why or why == ["its watch was cut off"]) and not force:
        look(app, str(note["release"]), None, author)
        return f"release {note['release']} serves"
    if is_back(back, commit) and note:
        commit = str(note["commit"])
    elif back:
        write_hold(app, {})
    return f"release {make(app, commit, author)} serves"


def make(app: App, commit: str, author: str) -> str:
    """Build, try, switch, watch and prune; the new release. On ReleaseError the old one serves."""
    release, old = new_name(commit), app.current
    note = {"release": release, "commit": commit, "inputs": app.inputs(), "ref": app.ref}
    # The first release has nothing to be switched back to, so nothing is waited for.
    note |= {"author": author, "time": now(), "health": "tried" if old else "healthy"}
    try:
        directory = export(app, commit, release)
        build(app, directory)
        furnish(app, directory)
        set_up(app, directory)
        try_out(app, release)
        # Written last: it says that the release is whole and was healthy.
        write_note(app, note)
        take_environment(app)
        try:
            switch(app, release)
        except BaseException:
            if app.current != release:
                give_back_environment(app)
            raise
    except BaseException as error:
        if app.current != release:
            forget(app, release)
            clear_venvs(app)
            record_refused(app, {**note, "health": "refused"}, hide(app, str(error) or type(error).__name__))
        raise
    look(app, release, old, author)
    prune(app, release)
    return release


def look(app: App, release: str, old: str | None, author: str) -> None:
    """Watch a release that was just switched to; ReleaseError when it was switched back from.

    `old`: the release before it; None after a watch that was cut off, when it is looked up.
    """
    note = note_of(app, release)
    if note.get("health", "healthy") != "tried":
        keep_environment(app)
        return
    try:
        watch(app, app.unit(release), app.socket(release))
    except ReleaseError as error:
        try:
            back = old or earlier(app, release)
        except ReleaseError:
            write_note(app, {**note, "health": "unhealthy"})
            raise ReleaseError(f"{error}\nIt serves on, since there is no earlier release.") from None
        hold(app, release, back, "switched back", author)
        write_note(app, {**note, "health": "switched back"})
        record_refused(app, {**note, "health": "switched back"}, hide(app, str(error)))
        give_back_environment(app)
        try:
            switch(app, back)
        except ReleaseError as second:
            raise ReleaseError(f"{error}\nIt serves on, since switching back failed: {second}") from None
        raise ReleaseError(f"{error}\nIt was switched back: {back} serves.") from None
    write_note(app, {**note, "health": "healthy"})
    keep_environment(app)


def rollback(app: App, wanted: str | None, author: str) -> str:
    """Serve an earlier release, which need not be named; what came of it. Neither builds nor asks anybody."""
    old = app.current
    new = earlier(app, old, wanted)
    if new == old:
        return f"release {new} serves already"
    began, before = time.monotonic(), held(app)
    # Held before it is left: a run that is cut off here must not bring it back.
    if old:
        hold(app, old, new, "rolled back", author)
    try:
        switch(app, new)
    except ReleaseError:
        write_hold(app, before)
        raise
    return f"release {new} serves, {old} was left; it took {time.monotonic() - began:.1f} s"
