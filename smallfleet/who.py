"""Who runs this."""

from __future__ import annotations

import getpass
import socket


def who() -> str:
    """The owner at his machine, such as anna@laptop."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
