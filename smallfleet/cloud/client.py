"""python-digitalocean's transport, made patient: limits, faults and timeouts are waited out and retried."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smallfleet.errors import FleetError
from smallfleet.secrets import Secret

if TYPE_CHECKING:
    import requests

ATTEMPTS = 6


class CloudError(FleetError):
    """The API refused or failed, after retries. `status` is HTTP's, 0 if no answer came."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Unsure(CloudError):
    """A POST whose fate is unknown (timeout or 5xx): look whether it was done before repeating it."""


def _message(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason or "no message"


class Client:
    """Calls to one account. The token is kept by `Secret` and stands in no message."""

    def __init__(self, end_point: str, token: Secret, pause: float = 1.0) -> None:
        self.end_point, self._token, self._pause = end_point, token, pause  # pause: first backoff, seconds
        self.guard: Callable[[], None] = lambda: None  # asked before each write; raises if it may not be

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params)

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PUT", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Delete; that it is gone already is as good."""
        try:
            self._call("DELETE", path, {})
        except CloudError as error:
            if error.status != 404:
                raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST; raises `Unsure` where it may or may not have been done."""
        return self._call("POST", path, body)

    def make(self, path: str, body: dict[str, Any], look: Callable[[], Any | None]) -> Any:
        """POST that makes one thing, once: `look` finds it if an unsure or refused POST has made it."""
        for attempt in range(ATTEMPTS):
            try:
                return self.post(path, body)
            except CloudError as error:
                if not (isinstance(error, Unsure) or error.status in (409, 422)):
                    raise
                if (found := look()) is not None:
                    return found
                if not isinstance(error, Unsure) or attempt + 1 == ATTEMPTS:
                    raise
                self._wait(attempt, None)
        raise AssertionError("not reached")

    def _call(self, method: str, path: str, params: dict[str, Any]) -> Any:
        from smallfleet.cloud import transport

        for attempt in range(ATTEMPTS):
            last = attempt + 1 == ATTEMPTS
            if method != "GET":
                self.guard()
            api = transport.Checked(token=self._token.reveal(), end_point=self.end_point)
            try:
                return api.get_data(path, method, dict(params))
            except transport.NotFoundError:
                raise CloudError(f"{method} {path}: there is no such thing (404)", 404) from None
            except transport.Answered as answer:
                response = answer.response
                status, text = response.status_code, _message(response)
                if status == 429 and not last:
                    self._wait(attempt, response.headers.get("Retry-After"))
                    continue
                if status >= 500:
                    if method == "POST":
                        raise Unsure(f"{method} {path}: {text} ({status})", status) from None
                    if not last:
                        self._wait(attempt, response.headers.get("Retry-After"))
                        continue
                if status == 401:
                    text += ". Is the token right? fleet secrets set INVENTORY digitalocean/token"
                raise CloudError(f"{method} {path}: {text} ({status})", status) from None
            except transport.requests.RequestException as error:
                # Only the kind of error: its text may quote the request.
                kind = type(error).__name__
                if method == "POST" and not isinstance(error, transport.requests.ConnectTimeout):
                    raise Unsure(f"{method} {path}: no answer from {self.end_point} ({kind})") from None
                if last:
                    raise CloudError(f"{method} {path}: no answer from {self.end_point} ({kind})") from None
                self._wait(attempt, None)
        raise AssertionError("not reached")

    def _wait(self, attempt: int, retry_after: str | None) -> None:
        """Until the server's Retry-After (seconds, at most two minutes), else twice as long each time."""
        if retry_after is not None and retry_after.isdigit():
            time.sleep(min(int(retry_after), 120))
        else:
            time.sleep(self._pause * 2**attempt * random.uniform(0.5, 1.0))
