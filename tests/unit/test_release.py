"""The release program's own logic, and its health check against a real unix socket."""

from __future__ import annotations

import json
import socket
import struct
import threading
from pathlib import Path

import pytest

from smallfleet.programs import release


def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> release.App:
    monkeypatch.setattr(release, "APPS", tmp_path)
    monkeypatch.setattr(release, "UNITS", tmp_path)
    spec = {
        "name": "podcast",
        "repository": "https://git.example.com/podcast.git",
        "ref": "main",
        "requirements": "requirements.txt",
        "setup": None,
        "health": "/health",
        "keep": 3,
        "domain": "podcast.example.com",
    } | changes
    (tmp_path / "podcast.json").write_text(json.dumps(spec))
    return release.App.load("podcast")


def test_an_unknown_app_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "APPS", tmp_path)
    with pytest.raises(release.ReleaseError, match="no app podcast"):
        release.App.load("podcast")


def test_a_wrong_key_in_the_spec_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(release.ReleaseError, match="cannot be used"):
        make(tmp_path, monkeypatch, colour="red")


def test_a_packet_is_what_the_protocol_says() -> None:
    packet = release.packet({"PATH_INFO": "/", "X": ""})
    modifier, size, modifier2 = struct.unpack("<BHB", packet[:4])
    assert (modifier, size, modifier2) == (0, len(packet) - 4, 0)
    assert packet[4:] == b"\x09\x00PATH_INFO\x01\x00/\x01\x00X\x00\x00"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 503 Busy\r\nX: y\r\n", 503),
        (b"", 0),
        (b"nonsense 200", 0),
        (b"HTTP/1.1 abc\r\n", 0),
    ],
)
def test_the_status_of_an_answer(answer: bytes, status: int) -> None:
    assert release.status_of(answer) == status


def test_asking_over_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    seen = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            nonlocal seen
            connection, _ = listening.accept()
            with connection:
                seen = connection.recv(65536)
                connection.sendall(b"HTTP/1.1 20")
                connection.sendall(b"4 No Content\r\n\r\n")

        server = threading.Thread(target=serve)
        server.start()
        assert release.ask(path, "/health?deep=1", "podcast.example.com", 5) == 204
        server.join()
    for text in (b"/health", b"deep=1", b"podcast.example.com", b"https"):
        assert text in seen


A, B, C = "a" * 40, "b" * 40, "c" * 40


@pytest.mark.parametrize(
    ("listing", "commit"),
    [
        (f"{A}\trefs/heads/main\n", A),
        (f"{A}\trefs/heads/main\n{B}\trefs/heads/old/main\n", A),
        (f"{A}\trefs/tags/main\n{B}\trefs/tags/main^{{}}\n{C}\trefs/heads/main\n", B),
        (f"{A}\trefs/heads/main\n{B}\trefs/tags/main\n", B),
        (f"{B}\trefs/heads/old/main\n", None),
        ("", None),
    ],
)
def test_which_commit_a_ref_names(listing: str, commit: str | None) -> None:
    assert release.pick_commit(listing, "main") == commit


@pytest.mark.parametrize(
    ("keep", "gone"),
    [(1, ["r1", "r2", "r4"]), (2, ["r1", "r2"]), (3, ["r1"]), (4, []), (9, [])],
)
def test_the_current_release_is_never_pruned(keep: int, gone: list[str]) -> None:
    assert release.stale(["r1", "r2", "r3", "r4"], "r3", keep) == gone


def test_inputs_follow_what_a_release_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path, monkeypatch).inputs()
    assert make(tmp_path, monkeypatch).inputs() == first
    # How many are kept, and where health is asked, make no new release.
    assert make(tmp_path, monkeypatch, keep=9, health="/up").inputs() == first
    assert make(tmp_path, monkeypatch, setup="python -m podcast.seed").inputs() != first
    for file in ("podcast.env", "podcast@.service"):
        before = make(tmp_path, monkeypatch).inputs()
        (tmp_path / file).write_text("changed")
        assert make(tmp_path, monkeypatch).inputs() != before


def test_a_link_is_pointed_in_one_step(tmp_path: Path) -> None:
    link = tmp_path / "current"
    release.point(link, Path("releases/one"))
    (tmp_path / ".current.new").symlink_to("left by a deploy that was cut off")
    release.point(link, Path("releases/two"))
    assert link.readlink() == Path("releases/two")
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_a_command_that_fails_says_its_step_and_last_lines() -> None:
    with pytest.raises(release.ReleaseError, match=r"Fetching failed \(status 3\):\n    no such thing"):
        release.run(["sh", "-c", "echo no such thing >&2; exit 3"], step="Fetching")


def test_two_deploys_of_one_app_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch)
    monkeypatch.setattr(release, "LOCKS", tmp_path)
    with (
        release.alone(app),
        pytest.raises(release.ReleaseError, match="being released already"),
        release.alone(app),
    ):
        pass
    with release.alone(app):
        pass
