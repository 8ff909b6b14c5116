"""Read an inventory file as pyinfra does, for the commands of our own."""

from __future__ import annotations

import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet


def load_inventory(path: Path) -> Fleet:
    """The fleet that the inventory file `path` says; `FleetError` if it says none or cannot be read."""
    try:
        # In a thread, whose stack is its own: when pyinfra reads lab.py, prod.py is not what it reads, and
        # `Fleet.groups()`, which looks at the stack, must not ask for prod's secrets.
        with ThreadPoolExecutor(1) as pool:
            values = pool.submit(runpy.run_path, str(path)).result()
    except FileNotFoundError:
        if path.exists():
            raise
        raise FleetError(f"there is no inventory {path}. Give one such as inventory/prod.py") from None
    except SyntaxError as error:
        raise FleetError(f"{path}:{error.lineno}: not Python: {error.msg}") from None
    fleet = values.get("fleet")
    if not isinstance(fleet, Fleet):
        raise FleetError(f"{path} has no fleet: it should say fleet = Fleet(…)")
    return fleet
