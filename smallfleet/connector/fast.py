"""SSH with few round trips: facts are asked in one shell, those of the last run in one go.

Only facts go through the shell. What may change the droplet goes through pyinfra's own SSHConnector, and so
does every fact with a wish of its own (a pty, input, a timeout, a password) and every fact that fails: then
all that is printed and raised is pyinfra's by construction. For owners: docs/connector.md.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import gevent
from gevent import Greenlet
from gevent.lock import RLock
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import StringCommand
from pyinfra.api.state import StateStage
from pyinfra.connectors.base import DataMeta
from pyinfra.connectors.ssh import ConnectorData, SSHConnector, connector_data_meta
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

from smallfleet.connector import learned
from smallfleet.connector.asker import Asker, asker
from smallfleet.connector.memory import Memory, age_of, changes_of
from smallfleet.connector.pace import pace_of
from smallfleet.connector.scripts import make_known
from smallfleet.connector.shell import Question, Shell

PLAIN = "SMALLFLEET_CONNECTOR"  # environment: "plain" makes it pyinfra's own SSH
COUNTS = "SMALLFLEET_CONNECTOR_COUNTS"  # environment: a file that gets a line of JSON for each droplet

LOGINS = 16  # hosts that may log in at once within the time that pyinfra gives one

# A fact with one of these goes through SSHConnector.
WISHES = ("_stdin", "_get_pty", "_timeout", "_sudo_password", "_su_password")
CONTROLS = ("_stdin", "_get_pty", "_timeout", "_success_exit_codes")  # not for the command's own words


class FastData(ConnectorData):
    ssh_fast: bool


class FastSSHConnector(SSHConnector):
    """
    Connect over SSH as `@ssh` does, but ask facts through one shell per host, and ahead of time.

    .. code:: shell

        pyinfra @fastssh/my-host.net ...
    """

    data_cls = FastData  # type: ignore[assignment] # pyinfra's own connectors do the same
    data_meta = {  # noqa: RUF012 # as in SSHConnector
        **connector_data_meta,
        "ssh_fast": DataMeta("Whether to ask facts through one shell, and ahead of time", True),
    }

    _shell: Shell | None = None
    _connected_before = False
    _ahead: Greenlet | None = None  # it waits to send what is asked ahead at first

    def __init__(self, state: Any, host: Any) -> None:
        super().__init__(state, host)
        # Made in the main greenlet, where click's context is; connect() runs in others.
        context = click.get_current_context(silent=True)
        self._never_asks = bool(context and context.params.get("yes"))
        self._fast = bool(self.data["ssh_fast"]) and os.environ.get(PLAIN) != "plain"  # type: ignore[typeddict-item]
        self._opening = RLock()
        self._counts = dict.fromkeys(("asked", "remembered", "trips", "plain", "changes", "shells"), 0)
        if not self._fast:
            return
        self._changes, self._pace = changes_of(state), pace_of(state)
        self._run_kind = learned.kind_of_run()
        self._before = learned.load(self._run_kind, host.name)
        self._memory = Memory(self._changes, self._before, age=age_of(len(state.inventory)))
        self._never_ahead: set[str] = set()
        make_known(context)

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield f"@fastssh/{name}", {"ssh_hostname": name}, []

    def make_paramiko_kwargs(self) -> dict[str, Any]:
        """pyinfra's own; the more hosts log in at once, the longer each may take.

        paramiko ends a login whose keys are not exchanged within the time for the TCP connection ("No
        existing session"), and the exchanges of all hosts share this one Python.
        """
        kwargs = super().make_paramiko_kwargs()
        if "timeout" in kwargs:  # CONNECT_TIMEOUT
            kwargs["timeout"] *= max(1, len(self.state.inventory) / LOGINS)
        return kwargs

    def connect(self) -> None:
        if self._fast:
            self._forget()
        self._log_in()
        asks_ahead = self._fast and not self._connected_before
        if asks_ahead and self._before:
            gevent.spawn(self._open)  # while it waits
        self._ready()
        if asks_ahead:
            self._connected_before = True
            ahead = self._memory.ahead(self._stage())
            if self._pace.full:  # nobody waits for that here
                self._ahead = gevent.spawn(self._send, ahead)
            else:
                self._send(ahead)

    def _log_in(self) -> None:
        super().connect()

    def _ready(self) -> None:
        """What has to be before the first question: here nothing. Raises ConnectError where it cannot be."""

    def disconnect(self) -> None:
        if self._fast:
            self._forget()
            self._changes.count += 1
            self._learn()
        self._report()
        super().disconnect()

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        def plainly() -> tuple[bool, CommandOutput]:
            self._counts["plain"] += 1
            return SSHConnector.run_shell_command(
                self, command, print_output=print_output, print_input=print_input, **arguments
            )

        if not self._fast:
            return plainly()
        who = asker(self.state)
        if who is Asker.CHANGE:
            with self._change():
                return plainly()
        self._counts["asked"] += 1
        if print_output or print_input or not self._can_ask(arguments):
            return plainly()
        wishes = {key: value for key, value in arguments.items() if key not in CONTROLS}
        asked = make_unix_command_for_host(self.state, self.host, command, **wishes)
        raw = asked.get_raw_value()
        # What pyinfra masks, or what has an environment, may hold a secret: it is not written to the cache.
        question = self._ask(raw, who is Asker.REMEMBERED, raw == str(asked) and not arguments.get("_env"))
        output = _output_of(question) if question else None
        return (True, output) if output else plainly()

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        with self._change():
            return super().put_file(*args, **kwargs)

    def rsync(self, *args: Any, **kwargs: Any) -> bool:
        with self._change():
            return super().rsync(*args, **kwargs)

    # ---- asking

    def _can_ask(self, arguments: dict[str, Any]) -> bool:
        shell = arguments.get("_shell_executable", "sh")
        return (
            isinstance(shell, str)
            and arguments.get("_success_exit_codes") in (None, [0])
            and not any(arguments.get(wish) for wish in WISHES)
            and not (arguments.get("_sudo") and self.host.connector_data.get("prompted_sudo_password"))
        )

    def _ask(self, raw: str, remember: bool, learn: bool) -> Question | None:
        """The answered question, from memory or from the droplet; None where the shell was lost."""
        if remember and self._ahead is not None:
            self._ahead.join()  # it may be among what is not sent yet
            self._ahead = None
        stage = self._stage()
        question = self._memory.use(raw, stage) if remember else None
        known = question is not None
        if remember and learn:
            self._memory.note(raw)
        if question is None:
            ahead = self._memory.ahead(stage, raw) if remember else []
            sent = self._send([raw, *ahead], remember)
            question = sent[0] if sent else None
        if question is None or not question.wait():
            return None
        self._counts["remembered"] += known
        return question

    def _send(self, commands: list[str], remember: bool = True) -> list[Question]:
        """Ask in one go, when it is the droplet's turn; no questions where there is no shell."""
        if not commands:
            return []
        if self._changes.count:  # pyinfra waits for all droplets now, and the first one's answers grow old
            return self._send_now(commands, remember)
        return self._pace.ask(len(commands), lambda: self._send_now(commands, remember))

    def _send_now(self, commands: list[str], remember: bool) -> list[Question]:
        change, stage = self._changes.count, self._stage()
        shell = self._open()
        if shell is None:
            return []
        self._counts["trips"] += 1
        questions = shell.ask(commands)
        if remember:
            self._memory.keep(questions, change, stage)
        return questions

    def _open(self) -> Shell | None:
        with self._opening:
            if self._shell is None or self._shell.lost:
                transport = self.client.get_transport() if self.client else None
                if transport is None:
                    return None
                try:
                    channel = transport.open_session()
                    channel.exec_command("exec sh")
                except (SSHException, EOFError, OSError) as error:
                    logger.debug("No shell on %s: %s", self.host.name, error)
                    return None
                self._counts["shells"] += 1
                self._shell = Shell(channel)
            return self._shell

    def _stage(self) -> bool:
        """Whether operations run. What was answered before is old then, if the owner was asked in between."""
        return self._never_asks or self.state.current_stage >= StateStage.Execute

    # ---- what may change the droplet

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """What runs in here may change any droplet. No answer from before or meanwhile holds afterwards."""
        if not self._fast:
            yield
            return
        self._counts["changes"] += 1
        self._changes.count += 1
        self._forget()
        try:
            yield
        finally:
            self._changes.count += 1

    def _forget(self) -> None:
        """End the shell too: the next one has the environment that a new session has."""
        self._memory.forget()
        with self._opening:
            if self._shell is not None:
                self._shell.close()
                self._shell = None

    # ---- for the next run

    def _learn(self) -> None:
        order = self._memory.asked
        cut_off = (
            order == self._before[: len(order)]
            or self.state.current_stage == StateStage.Execute
            or self.host not in self.state.active_hosts
        )
        if not cut_off:
            self._before = list(order)
            learned.save(self._run_kind, self.host.name, order)

    def _report(self) -> None:
        if path := os.environ.get(COUNTS):
            with Path(path).open("a") as file:
                file.write(json.dumps({"host": self.host.name, **self._counts}) + "\n")


def _output_of(question: Question) -> CommandOutput | None:
    """What SSHConnector would have made of it; None for a failure, which is asked once more there."""
    if question.status != 0:
        return None
    if question.lines is None:  # made once: the packages of a droplet are asked for by each `apt.packages`
        try:
            question.lines = [
                OutputLine(name, line)
                for name, text in (("stdout", question.stdout), ("stderr", question.stderr))
                for line in _lines(text)
            ]
        except UnicodeDecodeError:
            return None
    return CommandOutput(list(question.lines))


def _lines(text: bytes) -> list[str]:
    lines = text.decode("utf-8").split("\n")
    if not lines[-1]:
        lines.pop()
    return lines
