"""What every request passes: token, rate limit, faults on demand. Plain ASGI, so that it costs nothing."""

from __future__ import annotations

import asyncio
import hmac
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smallfleet.lab.api.errors import answer
from smallfleet.lab.api.faults import Faults

HOUR = 3600


class Gate:
    """`limit` requests an hour, then 429 with Retry-After until the hour is over."""

    def __init__(self, app: ASGIApp, token: str, faults: Faults, limit: int) -> None:
        self.app, self.faults, self.limit = app, faults, limit
        self._authorization = f"Bearer {token}".encode()
        self._reset, self._remaining = 0.0, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization", "").encode()
        if not hmac.compare_digest(given, self._authorization):
            await answer(401)(scope, receive, send)
            return
        # DigitalOcean answers with or without the final slash; python-digitalocean sends both.
        path = scope["path"].rstrip("/") or "/"
        scope = {**scope, "path": path, "raw_path": path.encode()}
        if path.startswith("/lab/"):
            await self.app(scope, receive, send)
            return

        if time.time() >= self._reset:
            self._reset, self._remaining = time.time() + HOUR, self.limit
        refused = self._remaining == 0
        self._remaining -= not refused

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["ratelimit-limit"] = str(self.limit)
                headers["ratelimit-remaining"] = str(self._remaining)
                headers["ratelimit-reset"] = str(int(self._reset))
            await send(message)

        if refused:
            after = {"retry-after": str(max(1, int(self._reset - time.time())))}
            await answer(429, headers=after)(scope, receive, send_with_limits)
            return
        fault = self.faults.for_request(scope["method"], path)
        if fault is not None and fault.delay is not None:
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.status is not None:
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            await answer(fault.status, headers=headers)(scope, receive, send_with_limits)
            return
        await self.app(scope, receive, send_with_limits)
