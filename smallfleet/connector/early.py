"""A login that begins before the cloud's API has said where a droplet is: to where the last run found it."""

from __future__ import annotations

from collections.abc import Callable

from gevent import Greenlet


class Early:
    """`log_in` under way, in a greenlet of its own."""

    def __init__(self, log_in: Callable[[], None]) -> None:
        self._log_in = log_in
        self._greenlet = Greenlet.spawn(self._try)

    def _try(self) -> Exception | None:
        try:
            self._log_in()
        except Exception as error:  # whoever waits for it is to have it; gevent would print it
            return error
        return None

    def wait(self) -> None:
        """Wait for it; raises what it raised."""
        error = self._greenlet.get()
        if error is not None:
            raise error

    def drop(self) -> None:
        """It led to the wrong place, or to none that is wanted."""
        self._greenlet.kill()
