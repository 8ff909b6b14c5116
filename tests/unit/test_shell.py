"""The shell that answers many commands, on a local `sh`, and what the connector remembers of the answers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.os import tp_read, tp_write
from pyinfra.connectors.util import CommandOutput

from smallfleet.connector import asker, learned, memory
from smallfleet.connector.fast import _output_of
from smallfleet.connector.memory import AHEAD_AFTER_CHANGE, Changes, Memory, age_of
from smallfleet.connector.pace import MANY, Pace
from smallfleet.connector.shell import Question, Shell


class LocalChannel:
    """A local `sh` with the methods of paramiko's Channel; `most` bytes at a time are received."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.most = most
        self.process = subprocess.Popen(
            ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.files = self.process.stdin, self.process.stdout, self.process.stderr
        self.writes = 0

    def sendall(self, data: bytes) -> None:
        self.writes += 1
        while data:
            data = data[tp_write(self.files[0].fileno(), data) :]

    def recv(self, size: int) -> bytes:
        return tp_read(self.files[1].fileno(), min(size, self.most))

    def recv_stderr(self, size: int) -> bytes:
        return tp_read(self.files[2].fileno(), min(size, self.most))

    def close(self) -> None:
        self.process.kill()


@pytest.fixture(params=[1 << 20, 7], ids=["in large pieces", "in pieces of seven bytes"])
def channel(request: pytest.FixtureRequest) -> Iterator[LocalChannel]:
    channel = LocalChannel(request.param)
    yield channel
    channel.close()
    channel.process.wait()


def answers(shell: Shell, *commands: str) -> list[Question]:
    questions = shell.ask(commands)
    with gevent.Timeout(20):
        assert all(question.wait() for question in questions)
    return questions


SCRIPTS = [
    "echo \"it's\" 'two  spaces' $HOME",
    "exit 3",
    "exit 4 # and a comment",
    "echo $# $0; set -e; false; echo never",
    "cd / && pwd",
    "x=1; unset y; set -u; echo ${y}; echo never",
    "exec echo gone",
    "trap 'echo trapped' EXIT; exit 5",
    "f() { return 6; }; f",
    "echo (",
    "echo )",
    "fi",
    "cat; echo $?",
    "! (test -e /nowhere || test -L /nowhere ) || ( stat -c '%U %N' /nowhere 2>/dev/null )",
    "kill -TERM $(sh -c 'echo $PPID'); sleep 5",
    'echo unfinished "',
    "-c",
    "",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_answered_as_a_shell_of_its_own_answers_it(channel: LocalChannel, script: str) -> None:
    own = subprocess.run(["sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True)
    # Between others, so that nothing of it is left to them.
    _, found, last = answers(Shell(channel), "false", f"sh -c {shlex.quote(script)}", "sh -c 'echo $# $?'")
    assert found.status == (own.returncode if own.returncode >= 0 else 128 - own.returncode)
    assert found.stdout == own.stdout
    assert found.status != 0 or found.stderr == own.stderr  # a fact that fails is asked once more, plainly
    assert last.stdout == subprocess.run(["sh", "-c", "echo $# $?"], capture_output=True).stdout


def test_many_commands_in_one_write_are_answered_in_order(channel: LocalChannel) -> None:
    found = answers(
        Shell(channel),
        "sh -c 'echo one; echo error >&2; exit 3'",
        "sh -c 'printf without-newline'",
        "sh -c 'cat'",  # there is no input, so it ends
        "sh -c 'printf \"a\\n\\n\\nb\\n\"'",
        "sh -c 'exit 0'",
    )
    assert channel.writes == 1
    assert [(q.status, q.stdout, q.stderr) for q in found] == [
        (3, b"one\n", b"error\n"),
        (0, b"without-newline", b""),
        (0, b"", b""),
        (0, b"a\n\n\nb\n", b""),
        (0, b"", b""),
    ]


def test_a_command_leaves_nothing_to_the_next(channel: LocalChannel) -> None:
    commands = "cd /tmp; x=1; exec 1>&2; set -e; false", "sh -c 'echo \"$PWD $x\"'"
    assert answers(Shell(channel), *commands)[1].stdout == f"{Path.cwd()} \n".encode()


def test_any_bytes_come_through() -> None:
    channel = LocalChannel()
    every = "sh -c 'i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done'"
    zeros = "sh -c 'head -c 10000000 /dev/zero'"
    found = answers(Shell(channel), every, zeros)
    assert found[0].stdout == bytes(range(256)) and found[1].stdout == bytes(10_000_000)
    assert _output_of(found[0]) is None  # no text: pyinfra's own connector says what becomes of it
    channel.close()


def test_what_a_killed_shell_owes_is_lost(channel: LocalChannel) -> None:
    shell = Shell(channel)
    asked = shell.ask(["sh -c 'echo one'", "kill -9 $$", "sh -c 'echo two'"])
    with gevent.Timeout(20):
        waited = [question.wait() for question in asked]
    # What was answered before may be lost with it: a fact is asked again.
    assert waited[1:] == [False, False] and shell.lost
    assert not shell.ask(["sh -c 'echo three'"])[0].wait()


def test_closing_ends_what_waits(channel: LocalChannel) -> None:
    shell = Shell(channel)
    question = shell.ask(["sleep 30"])[0]
    gevent.spawn(shell.close)
    with gevent.Timeout(20):
        assert not question.wait()


def test_lines_are_those_of_pyinfra() -> None:
    question = Question("x")
    question.status, question.stdout, question.stderr = 0, "ä\r\n\nb".encode(), b"\n"
    output = _output_of(question)
    assert isinstance(output, CommandOutput)
    assert output.stdout_lines == ["ä\r", "", "b"] and output.stderr_lines == [""]


def test_pyinfra_is_as_the_asker_knows_it() -> None:
    """Were it not, all would count as a change: right, but slow."""
    assert asker._FACT and "cls" in asker._FACT.co_varnames
    assert asker._OPERATION and "commands" in asker._OPERATION.co_varnames


# ---- memory


def answered(command: str, status: int = 0) -> Question:
    question = Question(command)
    question.status = status
    question.end_of_stream()
    question.end_of_stream()
    return question


def test_an_answer_holds_until_any_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(memory.time, "monotonic", lambda: now)
    changes = Changes()
    known = Memory(changes, [])
    known.keep([answered("a"), answered("failed", 1)], changes.count, False)
    assert known.recall("a", False) and not known.recall("b", False)
    assert not known.recall("failed", False)
    assert not known.recall("a", True), "somebody was asked before operations ran"
    changes.count += 1  # by whatever droplet
    assert not known.recall("a", False)
    known.keep([answered("a")], changes.count - 1, False)  # asked before the change, answered after it
    assert not known.recall("a", False)
    known.keep([answered("a")], changes.count, False)
    assert known.recall("a", False)
    now += memory.AGE_AFTER_CHANGE + 0.1
    assert not known.recall("a", False)


def test_an_answer_grows_old_from_its_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    changes = Changes()
    known = Memory(changes, ["slow", "next"])
    slow, following = Question("slow"), Question("next")
    known.keep([slow, following], changes.count, False)
    now += 10 * memory.AGE
    assert known.recall("slow", False) is slow, "what is under way is not asked once more"
    assert known.ahead(False) == []
    for question in (slow, following):
        question.status = 0
        question.end_of_stream()
        question.end_of_stream()
    now += memory.AGE - 0.1
    assert known.recall("next", False) is following
    now += 0.2
    assert not known.recall("next", False)
    slow = Question("slow")
    known.keep([slow], changes.count, False)
    changes.count += 1
    assert not known.recall("slow", False), "asked before the change"


def test_what_is_asked_ahead_follows_the_last_run() -> None:
    changes = Changes()
    order = [f"q{number}" for number in range(20)]
    known = Memory(changes, ["q0", "q0", *order])
    assert known.ahead(False) == order
    known.note("q0")
    changes.count += 1
    known.note("q4")
    ahead = known.ahead(False, "q4")
    assert ahead == order[5 : 5 + AHEAD_AFTER_CHANGE]
    known.keep([answered(one) for one in ["q4", *ahead]], changes.count, False)
    for one in ahead:
        assert known.use(one, False)
        known.note(one)
    known.note("q9")
    assert known.ahead(False, "q9") == order[10 : 10 + 2 * AHEAD_AFTER_CHANGE]
    changes.count += 1
    known.note("never asked before")
    assert len(known.ahead(False)) == AHEAD_AFTER_CHANGE
    known.note("q19")
    assert known.ahead(False) == []


def test_no_more_is_asked_ahead_after_a_change_than_pyinfra_comes_to_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asks, asked_at_once = 100.0, 0, []
    monkeypatch.setattr("time.monotonic", lambda: now)
    changes = Changes()
    order = [f"q{number}" for number in range(60)]
    known = Memory(changes, order)
    changes.count += 1
    for one in order:  # as the connector does
        now += 0.3  # what pyinfra needs to come to the next question, on all droplets
        known.note(one)
        if known.use(one, False) is None:
            ahead = known.ahead(False, one)
            known.keep([answered(each) for each in [one, *ahead]], changes.count, False)
            asked_at_once.append(1 + len(ahead))
            asks += 1 + len(ahead)
    in_time = int(memory.AGE_AFTER_CHANGE / 0.3) + 1
    assert asked_at_once[:2] == [1 + AHEAD_AFTER_CHANGE, 1 + 2 * AHEAD_AFTER_CHANGE]
    assert max(asked_at_once[2:]) <= in_time + 1, "one more is tried, now and then"
    assert asks <= 1.25 * len(order), "hardly any was asked for nothing"
    assert len(asked_at_once) < len(order) / 4
    changes.count += 1
    known.note("q0")
    assert len(known.ahead(False, "q0")) == AHEAD_AFTER_CHANGE, "after a change it begins anew"


def test_the_order_is_kept_for_the_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    order = ["a", "b", "a"]
    learned.save("run", "web1", order)
    (path,) = learned.directory().iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert learned.load("run", "web1") == order
    assert learned.load("run", "web2") == learned.load("other", "web1") == []
    os.utime(path, (0, 0))
    learned.save("run", "web2", order)
    assert not path.exists() and learned.load("run", "web2") == order, "what is old is removed"
    learned.save("run", "web1", order)
    path.chmod(0o644)
    assert learned.load("run", "web1") == []
    path.chmod(0o600)
    path.write_text(json.dumps({"commands": ["a"], "order": [7]}))
    assert learned.load("run", "web1") == []


def test_an_answer_holds_longer_among_many_hosts() -> None:
    assert age_of(1) == age_of(8) == memory.AGE
    assert age_of(64) == 64 * memory.AGE_PER_HOST


# ---- pace


def end(question: Question) -> None:
    question.end_of_stream()
    question.end_of_stream()


def test_only_so_many_droplets_answer_many_questions_at_once() -> None:
    pace, sent = Pace(at_once=2, patience=60), []

    def send() -> list[Question]:
        sent.append(Question("last"))
        return [Question("first"), sent[-1]]

    asking = [gevent.spawn(pace.ask, MANY, send) for _ in range(4)]
    gevent.idle()
    assert len(sent) == 2 and pace.full
    assert pace.ask(MANY - 1, lambda: []) == [], "few questions wait for nobody"
    end(sent[0])
    gevent.joinall(asking, timeout=60, count=3)
    assert len(sent) == 3
    sent[1].lose()
    gevent.joinall(asking, timeout=60)
    assert len(sent) == 4
    for question in sent[2:]:
        end(question)
    for _ in range(3):  # who failed to send holds nobody
        with pytest.raises(OSError):
            pace.ask(MANY, broken)
    assert gevent.spawn(pace.ask, MANY, send).get(timeout=60)


def broken() -> list[Question]:
    raise OSError


def test_a_droplet_that_does_not_answer_holds_the_others_for_seconds_only() -> None:
    pace = Pace(at_once=1, patience=0.05)
    silent = Question("silent")
    pace.ask(MANY, lambda: [silent])
    assert pace.ask(MANY, lambda: [Question("next")])
    silent.lose()
