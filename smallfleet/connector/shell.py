"""One remote `sh` that answers many commands, so that none costs a channel or a round trip of its own."""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.lock import RLock

CHUNK = 1 << 16  # bytes read at once


# A script as shlex.quote writes it, for `sh -c`: pyinfra asks all but a few facts so.
SCRIPT = re.compile(r"""sh -c ('[^']*(?:'"'"'[^']*)*')""")


class Channel(Protocol):
    """What is used of paramiko's Channel, in which a shell was started."""

    def sendall(self, data: bytes) -> None: ...
    def recv(self, size: int) -> bytes: ...
    def recv_stderr(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Question:
    """A command that was sent, and its answer once `wait` returned True."""

    status: int | None = None
    stdout = b""
    stderr = b""
    answered = 0.0  # when its answer was there, by time.monotonic()
    lines: list[Any] | None = None  # of both, as whoever asked wants them: kept for the next time

    def __init__(self, command: str) -> None:
        self.command = command
        self._ends = Event()
        self._left = 2  # streams that have not ended
        self.lost = False

    def wait(self) -> bool:
        """Wait for the answer; False where the shell was lost before."""
        self._ends.wait()
        return not self.lost

    @property
    def done(self) -> bool:
        return self._ends.is_set()

    def end_of_stream(self) -> None:
        self._left -= 1
        if not self._left:
            self.answered = time.monotonic()
            self._ends.set()

    def lose(self) -> None:
        if not self._ends.is_set():
            self.lost = True
            self._ends.set()


class Shell:
    """Commands in, answers out, in order. Each command has its own subshell and no input.

    Between the answers stands a mark that nothing but the shell knows: `MARK NUMBER STATUS` on stdout after
    what the command wrote there, `MARK NUMBER` on stderr.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._mark = f"\x1e{secrets.token_hex(12)}"
        self._count = 0
        self._waiting: dict[str, deque[tuple[int, Question]]] = {"stdout": deque(), "stderr": deque()}
        self._sending = RLock()  # a greenlet that sends may be put aside by another
        self.lost = False
        self.sent = self.received = 0  # bytes
        end = f"printf '{self._mark} %d %d\\n' $1 $2; printf '{self._mark} %d\\n' $1 >&2"
        self._preface = f"_end() {{ {end}; }}\n"
        self._readers = [
            gevent.spawn(self._read, "stdout", channel.recv),
            gevent.spawn(self._read, "stderr", channel.recv_stderr),
        ]

    def ask(self, commands: Iterable[str]) -> list[Question]:
        """Send the commands in one go; their questions, to be waited for.

        Each command is one that a POSIX shell can read as a whole, as pyinfra's `sh -c '...'` is.
        """
        questions = [Question(command) for command in commands]
        with self._sending:
            script = [self._preface]
            self._preface = ""
            for question in questions:
                self._count += 1
                for waiting in self._waiting.values():
                    waiting.append((self._count, question))
                script.append(f"( {_here(question.command)}\n) </dev/null; _end {self._count} $?\n")
            data = "".join(script).encode()
            if self.lost:
                self._lose()
                return questions
            try:
                self._channel.sendall(data)
            except (OSError, EOFError):
                self._lose()
            self.sent += len(data)
        return questions

    def close(self) -> None:
        """End the shell; what was not answered is lost."""
        self._lose()
        self._channel.close()

    def _read(self, stream: str, receive: Callable[[int], bytes]) -> None:
        mark = re.compile(
            re.escape(self._mark.encode()) + (rb" (\d+) (\d+)\n" if stream == "stdout" else rb" (\d+)\n")
        )
        longest = len(self._mark) + 24
        buffer, searched = bytearray(), 0
        while True:
            try:
                data = receive(CHUNK)
            except (OSError, EOFError):
                data = b""
            if not data:
                break
            self.received += len(data)
            buffer += data
            start = 0
            while found := mark.search(buffer, max(start, searched - longest)):
                if not self._answer(
                    stream, bytes(buffer[start : found.start()]), [int(n) for n in found.groups()]
                ):
                    self._lose()
                    return
                start = searched = found.end()
            del buffer[:start]
            searched = len(buffer)
        self._lose()

    def _answer(self, stream: str, text: bytes, numbers: list[int]) -> bool:
        """Give a question what it waits for; False if this is not its number."""
        waiting = self._waiting[stream]
        if not waiting or waiting[0][0] != numbers[0]:
            return False
        _, question = waiting.popleft()
        setattr(question, stream, text)
        if stream == "stdout":
            question.status = numbers[1]
        question.end_of_stream()
        return True

    def _lose(self) -> None:
        self.lost = True
        for waiting in self._waiting.values():
            for _, question in waiting:
                question.lose()
            waiting.clear()


def _here(command: str) -> str:
    """The command without the `sh` that it would start: the subshell that it gets reads its script itself.

    To start programs is what asking costs a droplet, and this is half of them.
    """
    script = SCRIPT.fullmatch(command)
    return f"eval {script[1]}" if script else command
