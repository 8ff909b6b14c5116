"""Errors that are for the owner."""

from __future__ import annotations


class FleetError(Exception):
    """A mistake the owner can make, or a fault he can mend: what is wrong, where, and what to do.

    The text stands by itself; the commands print it without a traceback and end with status 1.
    """
