"""What a run says beside pyinfra's own output, on standard error."""

from __future__ import annotations

from typing import Any


def say(*what: Any, end: str = "\n", soft_wrap: bool = False) -> None:
    """Print texts or tables of rich. Most runs say nothing, and do without importing it."""
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False, soft_wrap=soft_wrap).print(*what, end=end)
