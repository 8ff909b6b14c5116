"""Errors that are for the owner."""

from __future__ import annotations

from typing import Any

from pyinfra.api.exceptions import PyinfraError


class FleetError(PyinfraError):
    """A mistake the owner can make, or a fault he can mend: what is wrong, where, and what to do.

    The text stands by itself; `fleet` prints it without a traceback, and so does `pyinfra`,
    since it is one of its own errors; both end with status 1.
    """


class Taken(FleetError):
    """It is another run's turn; `note` says whose."""

    def __init__(self, text: str, note: dict[str, Any]) -> None:
        super().__init__(text)
        self.note = note
