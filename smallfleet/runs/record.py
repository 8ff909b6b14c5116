"""What a run of pyinfra did, droplet by droplet, with the diffs of the files that it changed."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.api.state import BaseStateCallback, StateStage
from pyinfra.context import ctx_host

from smallfleet.operations.called import called, function_of
from smallfleet.secrets.secret import MASK, Secret

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

LONGEST = 256 * 1024  # bytes of a file that is read for a diff
LINES = 400  # of a diff that are kept, for each operation and droplet
COLOR = re.compile(r"\x1b\[[0-9;]*m")
HEAD = re.compile(r"Will (?:create|modify|write|remove)\b.*", re.IGNORECASE)
DIFF = "  %s"  # how pyinfra's operations, and ours, log a line of a diff


class Diffs(logging.Handler):
    """Keeps the diffs that operations log while they are executed.

    Operations make them only where diffs were asked for, so they are; what the owner did not ask for
    himself (`quiet`) is kept from his screen.
    """

    def __init__(self, state: State, quiet: bool) -> None:
        super().__init__()
        self._state = state
        self._lines: dict[tuple[str, str], list[str]] = {}
        self._logger = logging.getLogger("pyinfra")
        if quiet:
            state.add_callback_handler(Asked())
            for handler in self._logger.handlers:
                handler.addFilter(lambda record: not self._is_diff(record))
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        host: Host = ctx_host.get()
        operation = host.executing_op_hash if host else None
        if operation and self._is_diff(record):
            lines = self._lines.setdefault((host.name, operation), [])
            text = COLOR.sub("", record.getMessage())
            head = HEAD.search(text)
            if text.strip() and len(lines) < LINES:
                lines.append(head.group() if head else text.removeprefix("  "))

    def of(self, host: str, operation: str) -> list[str]:
        """The lines of the diffs that the operation (its hash) made on the host."""
        return self._lines.get((host, operation), [])

    @staticmethod
    def _is_diff(record: logging.LogRecord) -> bool:
        text = str(record.msg)
        return record.levelno == logging.INFO and (text in (DIFF, "") or bool(HEAD.search(text)))


class Asked(BaseStateCallback):
    """Asks an operation for its diffs as it begins, if it makes them of text.

    pyinfra's would stumble over a file that is none, and read a long one as a whole.
    """

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        state.config.DIFF = any(_of_text(kept[op_hash]) for kept in state.ops.values() if op_hash in kept)


def _of_text(operation: Any) -> bool:
    """Whether what an operation writes is known to be text, and not much of it."""
    try:
        function = function_of(operation.command_generator)
        put = function.__module__ == "pyinfra.operations.files" and function.__name__ == "put"
        arguments = called(operation.command_generator)[1] if put else {}
    except (KeyError, TypeError):
        return False
    module = function.__module__ or ""  # a function of a deploy script has none
    if module.startswith("smallfleet."):
        return True
    if module != "pyinfra.operations.files":
        return False
    return function.__name__ in ("template", "line") or (put and _is_text(arguments.get("src")))


def _is_text(source: Any) -> bool:
    if not isinstance(source, str):
        return isinstance(source, io.StringIO)
    try:
        file = Path(source)
        if file.stat().st_size > LONGEST:
            return False
        file.read_bytes().decode()
        return True
    except (OSError, UnicodeDecodeError):
        return False


def droplets(state: State, diffs: Diffs) -> dict[str, dict[str, Any]]:
    """{name: {"result", "changes": [{"operation", "diff"}], "failed": operation or None}} of all droplets.

    `result` is "done", "failed", "not reached", or "stopped" where operations were left when the run ended.
    """
    return {
        host.name: _droplet(state, host, diffs) for host in state.inventory if state.is_host_in_limit(host)
    }


def _droplet(state: State, host: Host, diffs: Diffs) -> dict[str, Any]:
    changes, failed, left = [], None, False
    for operation in host.op_hash_order:
        meta = state.ops[host][operation].operation_meta
        name = ", ".join(sorted(state.op_meta[operation].names)) or "unnamed"
        if not meta.is_complete():
            left = True
        elif meta.did_change():
            changes.append({"operation": name, "diff": diffs.of(host.name, operation)})
        elif meta.did_error():
            failed = name
    if host not in state.activated_hosts:
        result = "not reached"
    elif host in state.failed_hosts:
        result = "failed"
    else:
        result = "stopped" if left else "done"
    return {"result": result, "changes": changes, "failed": failed}


def result(state: State, parts: dict[str, dict[str, Any]]) -> str:
    """The run's: the worst of its droplets'; "not begun" if it ended before its first operation."""
    if state.current_stage < StateStage.Execute:
        return "not begun"
    results = {part["result"] for part in parts.values()}
    return next((r for r in ("failed", "not reached", "stopped") if r in results), "done")


def masked(value: Any, secrets: Iterable[Secret]) -> Any:
    """The same value with every secret in its texts hidden."""
    texts = [text for secret in secrets if len(text := secret.reveal().strip()) >= 4]
    # Keys and certificates stand in diffs line by line.
    texts += [line for text in texts for line in text.splitlines() if len(line) >= 16]
    texts.sort(key=len, reverse=True)

    def hide(part: Any) -> Any:
        if isinstance(part, str):
            for text in texts:
                part = part.replace(text, MASK)
            return part
        if isinstance(part, dict):
            return {key: hide(item) for key, item in part.items()}
        return [hide(item) for item in part] if isinstance(part, list) else part

    return hide(value)
