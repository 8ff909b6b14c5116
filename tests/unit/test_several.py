"""What the droplet says of several files and directories, asked in one go."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from smallfleet.facts.files import Directories, FileStates


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "with a space.conf").write_text("one\n")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "sub").mkdir(mode=0o700)
    (tmp_path / "to-sub").symlink_to("sub")
    (tmp_path / "with a space.conf").chmod(0o640)
    (tmp_path / "empty").chmod(0o4755)
    return tmp_path


NAMES = ["with a space.conf", "empty", "link", "sub", "to-sub", "missing"]


def asked(fact: FileStates | Directories, room: Path, names: list[str]) -> dict[str, dict[str, str]]:
    command = fact.command(paths=[str(room / name) for name in names]).get_raw_value()
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    owner = (room.owner(), room.group())
    found = fact.process(said.splitlines())
    assert all((state["user"], state["group"]) == owner for state in found.values())
    return {Path(path).name: dict(state) for path, state in found.items()}


def test_regular_files_are_told_by_hash_and_mode(room: Path) -> None:
    found = asked(FileStates(), room, NAMES)
    assert {name: (state["sha256"], state["mode"]) for name, state in found.items()} == {
        "with a space.conf": (hashlib.sha256(b"one\n").hexdigest(), "640"),
        "empty": (hashlib.sha256(b"").hexdigest(), "4755"),
    }


def test_directories_are_told_by_mode_and_links_to_them_are_none(room: Path) -> None:
    assert {name: state["mode"] for name, state in asked(Directories(), room, NAMES).items()} == {
        "sub": "700"
    }


def test_what_is_not_there_is_in_no_answer(room: Path) -> None:
    assert asked(FileStates(), room, ["missing"]) == asked(Directories(), room, ["missing"]) == {}
