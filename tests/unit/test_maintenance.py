"""The maintenance program's own logic."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from smallfleet.cli.maintenance import seconds_of
from smallfleet.errors import FleetError
from smallfleet.programs import maintenance


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(maintenance, "ROOM", tmp_path)
    monkeypatch.setattr(maintenance, "SOCKETS", tmp_path / "unix")
    (tmp_path / "unix").write_text("Num RefCount Protocol Flags Type St Inode Path\n")
    return tmp_path


def on(*words: str) -> int:
    return maintenance.main(["on", *words])


def test_on_and_off(room: Path) -> None:
    assert on("podcast", "api", "--for", "10m", "--message", "a <b>", "--reason", "test") == 0
    said = maintenance.status()
    assert said.keys() == {"podcast", "api"}
    assert said["api"]["message"] == "a <b>" and said["api"]["reason"] == "test"
    assert said["api"]["until"] == pytest.approx(time.time() + 600, abs=5)
    assert "a &lt;b&gt;" in (room / "pages/podcast.html").read_text()
    assert json.loads((room / "pages/podcast.json").read_text())["message"] == "a <b>"
    assert maintenance.main(["off", "podcast"]) == 0
    assert maintenance.main(["off", "podcast"]) == 0
    assert maintenance.status().keys() == {"api"}
    # NGINX may be about to serve it.
    assert (room / "pages/podcast.html").exists()


def test_who_asks_in_a_long_one_is_told_to_come_back_later(room: Path) -> None:
    on("podcast", "--for", "1h")
    assert (room / "long/podcast").exists()
    on("podcast", "--for", "60")
    assert not (room / "long/podcast").exists()


def test_a_longer_one_for_another_reason_is_left_alone() -> None:
    on("podcast", "--for", "1h", "--reason", "by hand")
    on("podcast", "--for", "5m", "--reason", "patch day")
    assert maintenance.status()["podcast"]["reason"] == "by hand"
    on("podcast", "--for", "2h", "--reason", "patch day")
    assert maintenance.status()["podcast"]["reason"] == "patch day"


def test_what_is_over_ends(room: Path) -> None:
    on("podcast", "--until", str(time.time() + 0.2))
    on("api", "--for", "10m")
    assert maintenance.over(time.time() + 1) == ["podcast"]
    (room / "on/api").write_text("damaged")
    maintenance.watch()  # returns when there is none: one that cannot be read does not stay for ever
    assert maintenance.status() == {}


@pytest.mark.parametrize("words", [["../x", "--for", "5m"], ["Podcast", "--for", "5m"]])
def test_a_strange_name_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert on(*words) == 1
    assert "no site's name" in capsys.readouterr().err


def test_a_request_in_the_app_is_seen(room: Path) -> None:
    listening = "0000: 00000002 00000000 00010000 0001 01 100 /run/podcast/uwsgi.sock\n"
    asked = "0000: 00000003 00000000 00000000 0001 03 101 /run/podcast/uwsgi.sock\n"
    other = "0000: 00000003 00000000 00000000 0001 03 102 /run/podcast/r1/uwsgi.sock\n"
    nameless = "0000: 00000003 00000000 00000000 0001 03 103\n"
    table = room / "unix"
    table.write_text("header\n" + listening + other + nameless)
    assert not maintenance.busy("podcast")
    table.write_text("header\n" + listening + asked)
    assert maintenance.busy("podcast") and not maintenance.busy("api")
    assert maintenance.drain(["podcast", "api"], 0.1) == ["podcast"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("30s", 30), ("10m", 600), ("2h", 7200)])
def test_times(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
    assert maintenance.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0", "-5m", "1d", "5 m"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(FleetError, match="no time"):
        seconds_of(text)
