"""Changes that could lock the owner out: the droplet undoes them, unless a fresh connection confirms them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

from paramiko import SSHException
from pyinfra import host, logger
from pyinfra.api import FileUploadCommand, FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput
from pyinfra.operations import server

from smallfleet import programs
from smallfleet.facts.undo import UNDO, UndoPending
from smallfleet.operations import Commands

if TYPE_CHECKING:
    from pyinfra.api.arguments import ConnectorArguments
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

ARRIVED = "/usr/local/sbin/.smallfleet-undo.new"  # it puts itself in place
# Sessions live on. Not a reload: systemctl would not wait until sshd has read its files, and a login that
# still met the old ones would confirm the new ones. The starts are not counted: systemd refuses the sixth.
RESTART_SSHD = "{ systemctl reset-failed ssh.service || true; } && systemctl try-restart ssh.service"
GRACE = 60  # seconds for an undo to be made and seen, after its time has come


def guarded(commands: Iterable[Any], what: str, seconds: int) -> Commands:
    """`commands` between arming the undo and confirming it; nothing at all if there are none.

    + what: what is changed, in the owner's words
    + seconds: the droplet goes back by itself after so many, counted from before the first command
    """
    id = uuid.uuid4().hex[:12]
    armed = False
    for command in commands:
        if not armed:
            yield FileUploadCommand(StringIO(programs.text("undo")), ARRIVED)
            words = ["--seconds", str(seconds), "--what", QuoteString(what)]
            yield StringCommand("/usr/bin/python3", ARRIVED, "arm", id, *words)
            armed = True
        yield Change(command, id, what, seconds) if isinstance(command, StringCommand) else command
    if armed:
        yield FunctionCommand(confirm, (id, what, seconds), {})


class Change(StringCommand):
    """A command of a guarded change; if it fails, all that was changed since the arming is undone at once."""

    def __init__(self, command: StringCommand, id: str, what: str, seconds: int) -> None:
        undone = ["||", "{", "status=$?;", UNDO, "now", ";", "exit", "$status;", "}"]
        super().__init__("(", command, ")", *undone, **command.connector_arguments)
        self._change = (id, what, seconds)

    def execute(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """Run it. If it takes the connection with it, nothing is confirmed, and the undo is waited for."""
        limit = connector_arguments.get("_timeout") or self._change[2] + GRACE
        try:
            return super().execute(state, host, cast(Any, {**connector_arguments, "_timeout": limit}))
        except (TimeoutError, OSError, EOFError, SSHException):
            settle(state, host, "state", *self._change)
            return False, CommandOutput([])


def confirm(state: State, host: Host, id: str, what: str, seconds: int) -> bool:
    """Confirm the change over a connection of its own, or wait until the droplet has undone it."""
    return settle(state, host, "confirm", id, what, seconds)


def settle(state: State, host: Host, verb: str, id: str, what: str, seconds: int) -> bool:
    """Ask the undo program `verb` until the change is confirmed (True) or undone, and say so.

    Whether it was undone is asked of the droplet too: an undo that failed is not taken for one that was made.
    """
    end = time.monotonic() + seconds + GRACE
    trouble = "no answer"
    said: dict[str, Any] = {"state": "unknown", "problems": []}
    while time.monotonic() < end:
        try:
            said = ask(state, host, verb, id)
        except (ConnectError, OSError, EOFError, SSHException, ValueError) as error:
            trouble = str(error) or type(error).__name__
        else:
            if said["state"] == "confirmed":
                return True
            if said["state"] in ("undone", "unknown"):
                break
        time.sleep(0.5)

    def fail(text: str) -> bool:
        host.log_styled(text, fg="red", log_func=logger.error)
        return False

    reason = f"{said['why']}; the last fresh connection failed: {trouble}" if said.get("why") else trouble
    if said["state"] == "undone":
        return fail(
            f"{what}: the droplet has undone this change by itself ({reason}). It is as it was before."
        )
    if said["state"] == "failed":
        problems = "; ".join(said["problems"])
        return fail(f"{what}: THE UNDO FAILED, the droplet goes on trying ({reason}): {problems}")
    return fail(
        f"{what}: not confirmed, and whether the droplet has undone it could not be seen ({reason}). "
        "Look at it by its console in the cloud's control panel."
    )


def ask(state: State, host: Host, verb: str, id: str) -> dict[str, Any]:
    """What the undo program answers over a new connection, made as the owner's next run would make it."""
    fresh = SSHConnector(state, host)
    fresh.data["ssh_hostname"] = host.connector.data["ssh_hostname"]
    try:
        fresh.connect()
        _, output = fresh.run_shell_command(StringCommand(UNDO, verb, id), _timeout=30)
    finally:
        if fresh.client:
            fresh.client.close()
    return dict(json.loads(output.stdout_lines[-1])) if output.stdout_lines else {"state": "unknown"}


@operation()
def settled() -> Commands:
    """Undo what an earlier run changed and has not confirmed, so that this run starts from what was."""
    if what := host.get_fact(UndoPending):
        host.log(f"an earlier run was cut off before it had confirmed: {what}")
        yield StringCommand(UNDO, "now")
    else:
        host.noop("no change waits for its confirmation")


@operation()
def user(user: str, undo_seconds: int, **words: Any) -> Commands:
    """As pyinfra's server.user, undone if it locks the owner out.

    + user: name of the account
    + undo_seconds: the droplet goes back by itself after so many
    + words: what server.user takes
    """
    change = server.user._inner(user=user, **words)
    yield from guarded(change, f"The account {user}", undo_seconds)


@operation()
def shell(commands: list[str], undo_seconds: int, what: str) -> Commands:
    """Shell commands that touch sshd, users, keys, sudo or the firewall, undone if they lock the owner out.

    As server.shell they are run each time. sshd is restarted after them, so that the fresh connection meets
    it as it is now.

    + commands: what to run
    + undo_seconds: the droplet goes back by itself after so many
    + what: what they change, in the owner's words
    """
    change = [StringCommand(command) for command in [*commands, RESTART_SSHD]]
    yield from guarded(change, what, undo_seconds)
