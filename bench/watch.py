"""What a run of pyinfra did or would do, operation by operation on each droplet, for a comparison of runs.

A deploy script that comes before those of the run calls `watch`; it adds no operation and asks no fact:

    from pyinfra import state
    from bench.watch import watch
    watch(state)

When pyinfra ends, $SMALLFLEET_BENCH_STEPS gets {droplet: [step, ...]} as JSON, the operations in order.
A step is {"operation": its name, "result": see RESULTS, "commands": [text, ...], "said": [line, ...]}.
Secrets are masked as pyinfra masks them, and an upload is its content's hash.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pyinfra.api import FileUploadCommand, FunctionCommand
from pyinfra.api.state import State

STEPS = "SMALLFLEET_BENCH_STEPS"
RESULTS = (
    "changed",
    "without change",
    "failed",
    "not begun",  # the droplet had failed, or the run ended
    "would change",  # with --dry
    "would not change",
)

_watched: list[State] = []


def watch(state: State) -> None:
    """Have the run's steps written when pyinfra ends. It is called once for each droplet, and counts once."""
    if not _watched:
        _watched.append(state)
        atexit.register(write, state, Path(os.environ[STEPS]))


def write(state: State, path: Path) -> None:
    path.write_text(json.dumps({host.name: _steps(state, host) for host in state.inventory}))


def _steps(state: State, host: Any) -> list[dict[str, Any]]:
    steps = []
    for operation in host.op_hash_order:
        if operation not in state.ops[host]:
            continue  # of a deploy script that ended before the operation was made
        meta = state.ops[host][operation].operation_meta
        # pyinfra tells of the commands by their number alone; the commands themselves it keeps here.
        commands = [_text(command) for command in meta._commands or []]
        said = meta.stdout_lines + meta.stderr_lines if meta.is_complete() else []
        name = ", ".join(sorted(state.op_meta[operation].names))
        steps.append({"operation": name, "result": _result(meta), "commands": commands, "said": said})
    return steps


def _result(meta: Any) -> str:
    if meta.is_complete():
        return "failed" if meta.did_error() else "changed" if meta.did_change() else "without change"
    # Known with --dry alone, where pyinfra has tried each operation; asking would start it now.
    return {True: "would change", False: "would not change"}.get(meta._maybe_is_change, "not begun")


def _text(command: Any) -> str:
    if isinstance(command, FileUploadCommand):
        return f"upload {_digest(command.src)} to {command.dest}"
    if isinstance(command, FunctionCommand):
        words = [str(word) for word in command.args] + [f"{k}={v}" for k, v in command.kwargs.items()]
        return f"call {command.function.__name__}({', '.join(words)})"
    return str(command)


def _digest(source: Any) -> str:
    if isinstance(source, str):
        content = Path(source).read_bytes()
    else:
        source.seek(0)
        content = source.read()
        content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:16]
