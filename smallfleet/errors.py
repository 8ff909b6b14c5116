"""Errors that are for the owner."""

from __future__ import annotations

from pyinfra.api.exceptions import PyinfraError


class FleetError(PyinfraError):
    """A mistake the owner can make, or a fault he can mend: what is wrong, where, and what to do.

    The text stands by itself; `fleet` prints it without a traceback, and so does `pyinfra`,
    since it is one of its own errors; both end with status 1.
    """
