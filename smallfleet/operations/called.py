"""What an operation was called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any


def function_of(generator: Callable[..., Any]) -> Callable[..., Any]:
    """The function of an operation: KeyError, TypeError as `called`. Costs little."""
    return _closure(generator)["func"]


def _closure(generator: Callable[..., Any]) -> dict[str, Any]:
    if not isinstance(generator, FunctionType):
        raise TypeError("an operation's generator is a function")
    cells = generator.__closure__ or ()
    return {
        name: cell.cell_contents for name, cell in zip(generator.__code__.co_freevars, cells, strict=True)
    }


def called(generator: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """The function of an operation and its arguments by name, defaults filled in.

    pyinfra keeps them nowhere else than in the closure that its generator is made by: KeyError, TypeError if
    it does not.
    """
    kept = _closure(generator)
    bound = inspect.signature(kept["func"]).bind(*kept["args"], **kept["kwargs"])
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
    return kept["func"], arguments
