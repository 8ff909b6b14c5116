"""How `Client` asks: python-digitalocean over requests; imported when it asks, as that takes a while."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import urljoin

import requests
from digitalocean.baseapi import BaseAPI, NotFoundError

__all__ = ["Answered", "Checked", "NotFoundError", "requests"]

TIMEOUT = (10, 60)  # seconds to connect, and between bytes of the answer

_sessions = threading.local()  # they keep connections open, and are not made for several threads


def _session(with_proxies: bool) -> requests.Session:
    if not hasattr(_sessions, "by_kind"):
        _sessions.by_kind = {}
    if with_proxies not in _sessions.by_kind:
        session = _sessions.by_kind[with_proxies] = requests.Session()
        session.trust_env = with_proxies
    return _sessions.by_kind[with_proxies]


class _Transport(BaseAPI):
    """`get_data` of python-digitalocean (pagination, decoding) over requests that keep HTTP's status.

    The library throws the status and Retry-After away, so the one method that sends is replaced.
    """

    def _BaseAPI__perform_request(  # the library's private name, on purpose
        self, url: str, type: str = "GET", params: dict[str, Any] | None = None
    ) -> requests.Response:
        body: dict[str, Any] = {"params": params} if type == "GET" else {"data": json.dumps(params or {})}
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        session = _session(not self.end_point.startswith("http://127."))
        return session.request(type, urljoin(self.end_point, url), headers=headers, timeout=TIMEOUT, **body)


class Answered(Exception):
    """An answer that is neither good nor 404."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response


class Checked(_Transport):
    def _BaseAPI__perform_request(
        self, url: str, type: str = "GET", params: dict[str, Any] | None = None
    ) -> requests.Response:
        response = super()._BaseAPI__perform_request(url, type, params)
        if not response.ok and response.status_code != 404:
            raise Answered(response)
        return response
