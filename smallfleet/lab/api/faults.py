"""Faults on demand, for tests of whoever calls the API: none unless asked for at /lab/faults."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator


class Fault(BaseModel):
    """What goes wrong, `times` times: an error status, a delay (seconds), or a droplet that errors."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    path: str = ""  # regular expression, searched for in the path ("/v2/droplets")
    status: int | None = Field(default=None, ge=400, le=599)
    delay: float | None = Field(default=None, gt=0, le=300)
    errored_droplet: str | None = None
    times: int = Field(default=1, ge=1)
    retry_after: int | None = Field(default=None, ge=0)

    @field_validator("path")
    @classmethod
    def _compiles(cls, path: str) -> str:
        try:
            re.compile(path)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return path

    @model_validator(mode="after")
    def _does_something(self) -> Fault:
        if self.status is None and self.delay is None and self.errored_droplet is None:
            raise ValueError("one of status, delay or errored_droplet is needed")
        return self


class Faults:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        with self._lock:
            return [fault.model_copy() for fault in self._faults]

    def for_request(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, used up by one."""
        return self._take(
            lambda fault: (
                fault.errored_droplet is None
                and fault.method in (None, method)
                and re.search(fault.path, path) is not None
            )
        )

    def for_droplet(self, name: str) -> bool:
        """Whether the creation of a droplet called `name` is to fail; used up by one."""
        return self._take(lambda fault: fault.errored_droplet == name) is not None

    def _take(self, meets: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if meets(fault):
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                    return fault
        return None
