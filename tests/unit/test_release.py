"""The release program's own logic, and its health check against a real unix socket."""

from __future__ import annotations

import ast
import json
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from smallfleet import programs
from smallfleet.model.roles import AppUwsgi
from smallfleet.programs.release import app as app_module
from smallfleet.programs.release import building, cli, environment, health, keeping, system, verbs
from smallfleet.programs.release.app import App, ReleaseError
from smallfleet.rendering import render
from smallfleet.webapp import quoted

PROJECT = Path(__file__).resolve().parents[2]


def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> App:
    """An app whose directories are all under tmp_path."""
    for name in ("APPS", "UNITS", "SERVERS"):
        monkeypatch.setattr(app_module, name, tmp_path)
    monkeypatch.setattr(App, "root", property(lambda app: tmp_path / "srv"))
    (tmp_path / "srv/releases").mkdir(parents=True, exist_ok=True)
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
    return App.load("podcast")


def test_an_unknown_app_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "APPS", tmp_path)
    with pytest.raises(ReleaseError, match="no app podcast"):
        App.load("podcast")


def test_a_wrong_key_in_the_spec_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReleaseError, match="cannot be used"):
        make(tmp_path, monkeypatch, colour="red")


def test_a_packet_is_what_the_protocol_says() -> None:
    packet = health.packet({"PATH_INFO": "/", "X": ""})
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
    assert health.status_of(answer) == status


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
        assert health.ask(path, "/health?deep=1", "podcast.example.com", 5) == 204
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
    assert building.pick_commit(listing, "main") == commit


@pytest.mark.parametrize(
    ("keep", "gone"),
    [(1, ["r1", "r2", "r4"]), (2, ["r1", "r2"]), (3, ["r1"]), (4, []), (9, [])],
)
def test_the_current_release_is_never_pruned(keep: int, gone: list[str]) -> None:
    assert keeping.stale(["r1", "r2", "r3", "r4"], "r3", keep) == gone


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
    system.point(link, Path("releases/one"))
    (tmp_path / ".current.new").symlink_to("left by a deploy that was cut off")
    system.point(link, Path("releases/two"))
    assert link.readlink() == Path("releases/two")
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_a_command_that_fails_says_its_step_and_last_lines() -> None:
    with pytest.raises(ReleaseError, match=r"Fetching failed \(status 3\):\n    no such thing"):
        system.run(["sh", "-c", "echo no such thing >&2; exit 3"], step="Fetching")


def test_two_deploys_of_one_app_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch)
    monkeypatch.setattr(cli, "LOCKS", tmp_path)
    with (
        cli.alone(app, 0),
        pytest.raises(ReleaseError, match="being released by another run"),
        cli.alone(app, 0),
    ):
        pass
    with cli.alone(app, 0):
        pass


# ---- what is kept


@pytest.mark.parametrize(
    ("keep_bytes", "gone"),
    [(None, []), (40, []), (39, ["r1"]), (20, ["r1", "r2"]), (1, ["r1", "r2"])],
)
def test_the_oldest_go_for_the_disks_sake_but_never_the_last_way_back(
    keep_bytes: int | None, gone: list[str]
) -> None:
    releases = ["r1", "r2", "r3", "r4"]
    assert keeping.stale(releases, "r4", 9, keep_bytes, lambda some: 10 * len(some)) == gone


def test_releases_that_share_a_venv_count_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch)
    for venv in ("one", "two", "three"):
        (app.venvs / venv).mkdir(parents=True)
        (app.venvs / venv / "module.py").write_bytes(b"x" * 40_000)
    for release, venv in (("1", "one"), ("2", "one"), ("3", "two")):
        (app.releases / release).mkdir()
        (app.releases / release / ".venv").symlink_to(app.venvs / venv)
    assert keeping.size_of(app, ["1"]) == keeping.size_of(app, ["1", "2"]) >= 40_000
    assert keeping.size_of(app, ["1", "3"]) >= 80_000
    keeping.clear_venvs(app)
    assert sorted(path.name for path in app.venvs.iterdir()) == ["one", "two"]


def lay_down(app: App, release: str, commit: str, **note: object) -> None:
    (app.releases / release).mkdir()
    keeping.write_note(app, {"release": release, "commit": commit, "inputs": app.inputs(), **note})


def test_the_release_to_go_back_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch)
    lay_down(app, "1", A, health="healthy")
    lay_down(app, "2", B, health="healthy")
    lay_down(app, "3", C, health="switched back")
    lay_down(app, "4", B, health="healthy")
    assert keeping.earlier(app, "4") == "2"
    assert keeping.earlier(app, "2") == "1"
    assert keeping.earlier(app, "4", "3") == "3"  # by name, whatever it was like
    assert keeping.earlier(app, "4", "aaaa") == "1"
    assert keeping.earlier(app, "1", "bbbb") == "4"
    with pytest.raises(ReleaseError, match=r"no release before 1\. There are: 1, 2, 3, 4"):
        keeping.earlier(app, "1")
    with pytest.raises(ReleaseError, match="no release 7"):
        keeping.earlier(app, "4", "7")


def serving(app: App, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    system.point(app.link, Path("releases") / release)
    monkeypatch.setattr(verbs, "running", lambda app: [release])
    monkeypatch.setattr(verbs, "enabled", lambda app: {release})


def why(app: App, remote: str | None) -> list[str]:
    return verbs.reasons(app, keeping.note_of(app, app.current), keeping.held(app), remote)


def test_what_was_rolled_back_is_not_done_again_until_the_ref_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make(tmp_path, monkeypatch)
    lay_down(app, "1", A)
    lay_down(app, "2", B)
    serving(app, monkeypatch, "2")
    assert why(app, B) == []
    keeping.hold(app, "2", "1", "rolled back", "ada@laptop")
    serving(app, monkeypatch, "1")
    assert why(app, B) == []
    assert why(app, C) == ["main is now cccccccc"]
    said = verbs.said(keeping.held(app))
    assert said.startswith("bbbbbbbb is held back: rolled back from 2 by ada@laptop at ")
    # A configuration that changes afterwards is for the release that serves.
    (tmp_path / "podcast.env").write_text("changed")
    assert why(app, B) == ["its configuration changed"]


def test_two_steps_back_and_one_forward_hold_what_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make(tmp_path, monkeypatch)
    for release, commit in (("1", A), ("2", B), ("3", C)):
        lay_down(app, release, commit)
    keeping.hold(app, "3", "2", "rolled back", "ada")
    keeping.hold(app, "2", "1", "rolled back", "ada")
    assert keeping.held(app)["commits"] == [B, C]
    keeping.hold(app, "1", "2", "rolled back", "ada")
    assert keeping.held(app)["commits"] == [A, C]
    serving(app, monkeypatch, "2")
    assert why(app, C) == []


def test_going_back_from_a_configuration_holds_that_back_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make(tmp_path, monkeypatch)
    lay_down(app, "1", A)
    (tmp_path / "podcast.ini").write_text("bad")
    lay_down(app, "2", A)
    keeping.hold(app, "2", "1", "rolled back", "ada")
    serving(app, monkeypatch, "1")
    assert why(app, A) == []
    (tmp_path / "podcast.ini").write_text("mended")
    assert why(app, A) == ["its configuration changed"]


def test_a_watch_that_was_cut_off_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch)
    lay_down(app, "1", A, health="tried")
    serving(app, monkeypatch, "1")
    assert why(app, A) == ["its watch was cut off"]


def test_records_of_refused_releases_are_for_root_alone_and_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make(tmp_path, monkeypatch)
    for number in range(30):
        keeping.record_refused(
            app, {"release": f"20260101-0000{number:02}-aaaaaaaa", "health": "refused"}, "x"
        )
    assert len(list(app.records.iterdir())) == keeping.RECORDS
    assert app.records.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in app.records.iterdir()} == {0o600}


# ---- watching


def looked_at(monkeypatch: pytest.MonkeyPatch, answers: list[str | None], losses: list[dict]) -> App:
    """An app that answers so, and whose unit loses so, at one look after the other; time passes by looks."""
    clock = iter(range(1000))
    monkeypatch.setattr(health.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(health.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(health, "journal", lambda unit: "its last words")
    monkeypatch.setattr(health, "fault", lambda *_: answers.pop(0) if answers else None)
    monkeypatch.setattr(health, "losses", lambda unit: losses.pop(0) if len(losses) > 1 else losses[0])
    return App("podcast", "r", "main", "requirements.txt", "/health", 3, "podcast.example.com", watch=6)


WELL = {"restarts": 0, "out of memory": 0}


def test_a_hiccup_is_not_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    app = looked_at(monkeypatch, ["answered 503", "answered 503", None, "timed out"], [WELL])
    health.watch(app, "unit", Path("socket"))


@pytest.mark.parametrize(
    ("answers", "losses", "said"),
    [
        (["answered 503"] * 3, [WELL], r"/health: answered 503\):\n    its last words"),
        ([], [WELL, WELL, {"restarts": 1, "out of memory": 0}], "ended by itself"),
        ([], [WELL, {"restarts": 0, "out of memory": 1}], "ran out of its memory"),
    ],
)
def test_what_is_bad(
    monkeypatch: pytest.MonkeyPatch, answers: list[str | None], losses: list[dict], said: str
) -> None:
    app = looked_at(monkeypatch, answers, losses)
    with pytest.raises(ReleaseError, match=said):
        health.watch(app, "unit", Path("socket"))


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ({"out of memory": 1, "killed": 0}, "it ended by itself, and it ran out of its memory"),
        ({"out of memory": 0, "killed": 1}, "it ended by itself, killed as the kernel does .* memory"),
        ({"out of memory": 0, "killed": 0}, r"it ended by itself\)"),
    ],
)
def test_a_candidate_that_ends_is_told_with_why(
    monkeypatch: pytest.MonkeyPatch, lost: dict[str, int], said: str
) -> None:
    app = looked_at(monkeypatch, ["refused"], [{"restarts": 0, **lost}])
    monkeypatch.setattr(health, "systemctl_state", lambda unit: "failed")
    with pytest.raises(ReleaseError, match=said):
        health.wait_healthy(app, "unit", Path("socket"))


# ---- secrets


def test_secrets_that_an_app_says_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch, secrets=["SESSION_SECRET", "MONGODB_URL"])
    lines = {
        "SESSION_SECRET": 'a"b$c\\d',
        "MONGODB_URL": "mongodb://podcast:p%2Fw1234@10.0.0.1/podcast",
        "SITE": "x",
    }
    text = "".join(f"{key}={quoted(value)}\n" for key, value in lines.items())
    (tmp_path / "podcast.env").write_text(text)
    said = 'KeyError a"b$c\\d, p/w1234, p%2Fw1234 and mongodb://podcast:p%2Fw1234@10.0.0.1/podcast at x'
    assert environment.hide(app, said) == "KeyError (secret), (secret), (secret) and (secret) at x"


def test_the_serving_environment_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path, monkeypatch)
    app.wanted_environment.write_text("first")
    environment.take_environment(app)
    app.wanted_environment.write_text("second")
    environment.take_environment(app)
    assert app.environment.read_text() == "second"
    assert app.environment.stat().st_mode & 0o777 == 0o400
    environment.give_back_environment(app)
    assert app.environment.read_text() == "first"
    environment.take_environment(app)
    environment.keep_environment(app)
    environment.give_back_environment(app)
    assert app.environment.read_text() == "second"
    assert sorted(path.name for path in tmp_path.glob("*env")) == ["podcast.env", "podcast.serving.env"]


# ---- the one file that droplets get


@pytest.mark.parametrize("program", programs.MODULES)
def test_the_modules_joined_are_one_program(program: str) -> None:
    text = programs.text(program)
    assert text == programs.text(program)
    assert "smallfleet.programs" not in text
    names = [
        name
        for node in ast.parse(text).body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [one.id for one in node.targets if isinstance(one, ast.Name)]
            if isinstance(node, ast.Assign)
            else []
        )
    ]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    modules = {path.stem for path in (Path(programs.__file__).parent / program).glob("*.py")}
    assert modules == set(programs.MODULES[program])


def test_the_joined_program_runs_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "smallfleet-release"
    file.write_text(programs.text("release"))
    done = subprocess.run([sys.executable, "-I", file, "status", "nobody"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nobody: There is no app nobody here")


@pytest.mark.parametrize(("processes", "delta"), [(1, None), (2, 25)])
def test_processes_start_anew_one_after_the_other(processes: int, delta: int | None) -> None:
    site = SimpleNamespace(name="podcast", app=SimpleNamespace(module="podcast:application"))
    uwsgi = AppUwsgi(processes=processes, max_requests=100)
    said = render(PROJECT / "templates/uwsgi/app.ini.j2", site=site, uwsgi=uwsgi)
    # With the only one away nobody would answer.
    assert ("max-requests = 100\n" in said) == (delta is not None)
    assert (f"max-requests-delta = {delta}\n" in said) == (delta is not None)
