"""The account's state: one JSON file, replaced atomically with every change."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Data = dict[str, Any]

COLLECTIONS = (
    "keys",
    "vpcs",
    "droplets",
    "actions",
    "images",
    "tags",
    "firewalls",
    "domains",
    "reserved_ips",
    "load_balancers",
    "projects",
)


def now() -> str:
    """The time in the API's form: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """State as plain JSON values: `{"next_id": int, COLLECTION: {id as text: {...}}}`.

    All reading and changing happens inside `read()` or `change()`, which exclude other threads. A handler
    checks before it changes anything: an exception inside `change()` leaves the file as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.data: Data = {"next_id": 10001, "uuid": str(uuid.uuid4())}
        if path.exists():
            self.data.update(json.loads(path.read_text()))
        for collection in COLLECTIONS:
            self.data.setdefault(collection, {})

    @contextmanager
    def read(self) -> Iterator[Data]:
        with self.lock:
            yield self.data

    @contextmanager
    def change(self) -> Iterator[Data]:
        with self.lock:
            yield self.data
            self._save()

    def _save(self) -> None:
        # 0600: user data of droplets may hold secrets.
        aside = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.data, file, indent=1)
            file.flush()
            os.fsync(descriptor)
        aside.replace(self.path)


def next_id(data: Data) -> int:
    """A number that nothing else in the account has or had."""
    data["next_id"] += 1
    return data["next_id"] - 1
