"""What an operation was called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def called(generator: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """The function of an operation and its arguments by name, defaults filled in.

    pyinfra keeps them nowhere else than in the closure that its generator is made by.
    """
    kept = inspect.getclosurevars(generator).nonlocals
    bound = inspect.signature(kept["func"]).bind(*kept["args"], **kept["kwargs"])
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
    return kept["func"], arguments
