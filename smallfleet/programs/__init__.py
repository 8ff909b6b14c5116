"""Self-contained programs that are copied onto droplets and run there."""

from __future__ import annotations

from pathlib import Path


def path(name: str) -> Path:
    """The file of the program `name` ("mongodb_users")."""
    return Path(__file__).parent / f"{name}.py"
