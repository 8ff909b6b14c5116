"""Who asks for a command: a fact, which changes nothing, or something else, which may change the droplet.

pyinfra tells a connector the command alone. The frames that called it say the rest. They are only read, and
what is not recognised counts as a change: a pyinfra that names things otherwise makes runs slower, not wrong.
"""

from __future__ import annotations

import sys
from enum import Enum
from types import CodeType

import pyinfra
from pyinfra.api import command, facts, operations
from pyinfra.api.command import FunctionCommand
from pyinfra.api.state import State, StateStage
from pyinfra.facts.server import Command

FRAMES = 200  # that are looked at; pyinfra's own are some thirty


def _code(module: object, name: str) -> CodeType | None:
    return getattr(getattr(module, name, None), "__code__", None)


_FACT = _code(facts, "_get_fact")
_OPERATION = _code(operations, "_run_host_op")


class Asker(Enum):
    """What may be done with the answer."""

    CHANGE = "no fact: the droplet may change"
    FACT = "a fact, to be asked anew"
    REMEMBERED = "a fact whose answer may be remembered"


def asker(state: State) -> Asker:
    """Who called the connector from this greenlet.

    Answers are remembered where pyinfra alone decides what happens next: in its command, while it loads
    deploy scripts or runs an operation. Functions of the owner (`python.call`) may do anything, so what they
    ask, and what the rest of their operation asks, is asked anew.
    """
    frame = sys._getframe(1)
    fact: type | None = None
    in_operation = by_function = False
    for _ in range(FRAMES):
        code = frame.f_code
        if fact is None and code is _FACT:
            fact = frame.f_locals.get("cls")
            if fact is None or issubclass(fact, Command):
                return Asker.CHANGE  # Command runs anything at all
        elif fact is not None and code.co_filename == command.__file__:
            by_function = True
        elif fact is not None and code is _OPERATION:
            in_operation = True
            done = frame.f_locals.get("commands")
            by_function |= done is None or any(isinstance(one, FunctionCommand) for one in done)
        if frame.f_back is None:
            break
        frame = frame.f_back
    if fact is None:
        return Asker.CHANGE
    if not pyinfra.is_cli or by_function:
        return Asker.FACT
    stage = state.current_stage
    if stage == StateStage.Prepare or (stage == StateStage.Execute and in_operation):
        return Asker.REMEMBERED
    return Asker.FACT
