"""Errors of the lab."""

from __future__ import annotations

from smallfleet.errors import FleetError


class LabError(FleetError):
    """The lab cannot do what was asked of it here: what, why, and how to mend it."""
