"""The undo program without a droplet: what it remembers, brings back and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand

from smallfleet.facts.undo import UndoPending
from smallfleet.operations import guarded
from smallfleet.programs.undo import change as undo
from smallfleet.programs.undo import files, running


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of /etc, and a program that runs nothing."""
    etc, room = tmp_path / "etc", tmp_path / "undo"
    (etc / "ssh/sshd_config.d").mkdir(parents=True)
    (etc / "ssh/sshd_config").write_text("Include x\n")
    (etc / "ssh/link").symlink_to("sshd_config")
    (etc / "passwd").write_text("root\n")
    room.mkdir()
    monkeypatch.setattr(files, "DIRECTORIES", [str(etc / "ssh")])
    monkeypatch.setattr(files, "FILES", [str(etc / "passwd"), str(etc / "hosts.deny")])
    monkeypatch.setattr(undo, "ROOM", room)
    monkeypatch.setattr(files.pwd, "getpwall", lambda: [])
    for module in (undo, running):
        monkeypatch.setattr(module, "run", lambda *command, given=None: (0, ""))
    return etc


def change(kept: dict[str, Any], id: str = "a") -> dict[str, Any]:
    return {
        "id": id,
        "what": "sshd",
        "seconds": 60,
        "armed": 0.0,
        "boot": "x",
        "ssh": [],
        "files": kept,
        "ruleset": None,
    }


def pend(made: dict[str, Any]) -> None:
    (undo.ROOM / "pending.json").write_text(json.dumps(made))


def test_what_was_is_brought_back_and_what_came_on_top_goes(etc: Path) -> None:
    (etc / "ssh/.x.candidate").write_text("of an operation that is at work")
    kept = json.loads(json.dumps(files.remembered()))
    (etc / "ssh/.x.candidate").unlink()
    (etc / "ssh/sshd_config").write_text("AllowUsers nobody\n")
    (etc / "ssh/sshd_config").chmod(0o600)
    (etc / "ssh/link").unlink()
    (etc / "ssh/sshd_config.d/new.conf").write_text("x")
    (etc / "ssh/more.d").mkdir()
    (etc / "hosts.deny").write_text("ALL: ALL\n")
    (etc / "passwd").unlink()
    changed, problems = files.bring_back(kept)
    assert problems == [] and str(etc / "ssh/sshd_config") in changed
    assert files.remembered() == kept
    assert not (etc / "hosts.deny").exists() and not (etc / "ssh/more.d").exists()
    assert files.bring_back(kept) == (set(), [])


def test_keys_and_who_may_write_to_their_homes_are_remembered(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class User:
        pw_dir = str(tmp_path / "home")

    keys = tmp_path / "home/.ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("the owner's\n")
    monkeypatch.setattr(files.pwd, "getpwall", lambda: [User])
    kept = files.remembered()
    keys.unlink()
    keys.parent.parent.chmod(0o777)
    assert files.bring_back(kept)[1] == []
    assert keys.read_text() == "the owner's\n" and keys.parent.parent.stat().st_mode & 0o777 != 0o777


def test_one_thing_that_fails_does_not_stop_the_others_and_is_said(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = change(files.remembered())
    pend(made)
    (etc / "passwd").write_text("nobody\n")
    (etc / "ssh/sshd_config").write_text("AllowUsers nobody\n")
    write = files.write

    def broken(path: Path, entry: dict[str, Any]) -> None:
        if path.name == "sshd_config":
            raise OSError(30, "Read-only file system")
        write(path, entry)

    monkeypatch.setattr(files, "write", broken)
    assert undo.undo(made, "nobody confirmed it") == [f"{etc}/ssh/sshd_config: Read-only file system"]
    assert (etc / "passwd").read_text() == "root\n"
    # It is not over: it can neither be confirmed now, nor is it forgotten.
    undo.confirm("a")
    assert undo.answer("a")["state"] == "failed" and undo.pending() is not None
    monkeypatch.setattr(files, "write", write)
    assert undo.undo(made, "nobody confirmed it") == []
    assert undo.answer("a")["state"] == "undone" and undo.pending() is None


def test_a_confirmed_change_stays_and_its_secrets_are_forgotten(etc: Path) -> None:
    pend(change(files.remembered()))
    undo.confirm("b")
    assert undo.answer("a")["state"] == "pending" and undo.answer("b")["state"] == "unknown"
    undo.confirm("a")
    assert undo.answer("a")["state"] == "confirmed"
    assert [path.name for path in undo.ROOM.iterdir()] == ["results"]
    assert "files" not in (undo.ROOM / "results/a.json").read_text()


def test_only_a_change_is_guarded() -> None:
    assert list(guarded.guarded([], "nothing", 60)) == []
    commands = list(guarded.guarded([StringCommand("one"), StringCommand("two")], "it's", 60))
    kinds = [FileUploadCommand, StringCommand, guarded.Change, guarded.Change, FunctionCommand]
    assert [type(command) for command in commands] == kinds
    assert "'it'\"'\"'s'" in str(commands[1]) and "--seconds 60" in str(commands[1])
    assert str(commands[2]).startswith("( one ) || {")


def test_the_fact_says_what_waits() -> None:
    assert UndoPending().process(["The firewall's rules"]) == "The firewall's rules"
