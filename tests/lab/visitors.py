"""Visitors of sites in the lab: a steady, bounded load whose every request is counted and none is retried.

    crowd = Crowd(ca, [Visit(site, "page", "/", rate=10), Visit(site, "post", "/notes", method="POST", …)])
    with crowd:
        …                               # what visitors should not notice
        crowd.wait_for(20_000)
    print(crowd.table())
    assert not crowd.failed

http.client sends a request once: what is reset, cut off or refused is seen as that. A connection that
the server ended by saying `Connection: close` is opened anew, as any client does.
"""

from __future__ import annotations

import ctypes
import http.client
import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.lab.conftest import PATIENCE

CLONE_NEWNET = 0x40000000
TOKEN = "{token}"  # in a visit's path or body: a text of this request alone, which the answer must then show
_tokens = itertools.count(1)


@dataclass(frozen=True)
class Site:
    """A site by its domain, at the public address of its droplet."""

    name: str
    domain: str
    address: str


@dataclass(frozen=True)
class Visit:
    """A request that is made over and over, `rate` times a second, by as many visitors as take turns."""

    site: Site
    kind: str  # what the table calls it
    path: str
    rate: float = 5.0
    visitors: int = 1
    method: str = "GET"
    body: str | None = None  # JSON
    status: int = 200  # what is a good answer
    shows: str = ""  # what a good answer has in it
    fresh: bool = False  # a connection of its own for each request, else one is kept alive
    bytes_per_second: int | None = None  # a slow reader of something long; its time is not judged
    timeout: float = 60.0  # seconds of silence


@dataclass(frozen=True)
class Answer:
    """One request and what came of it. `at`: seconds since the crowd began; `fault`: None if all was well."""

    site: str
    kind: str
    at: float
    seconds: float
    status: int | None
    fault: str | None
    slow: bool = False  # read slowly on purpose
    maintenance: bool = False  # the site said that it is in maintenance
    token: str = ""  # what the request had in the place of TOKEN


class _Connection(http.client.HTTPSConnection):
    """HTTPS to a site's address, verified for its domain."""

    def __init__(self, site: Site, tls: ssl.SSLContext, timeout: float) -> None:
        super().__init__(site.domain, timeout=timeout)
        self._site, self._tls = site, tls

    def connect(self) -> None:
        plain = socket.create_connection((self._site.address, 443), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._site.domain)


def enter(namespace: str) -> None:
    """Have this thread make its connections in a network namespace (a name of `ip netns`)."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(descriptor)


@dataclass
class Crowd:
    """All visitors. Ends by itself after `most` requests or `seconds`, whichever comes first."""

    ca: str  # the PEM bundle that sites' certificates verify against
    visits: Sequence[Visit]
    most: int = 200_000
    seconds: float = 3600.0
    namespace: str | None = None  # the network namespace that they come from; None for this machine's own
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tls = ssl.create_default_context(cafile=self.ca)
        self._stop = threading.Event()
        self._began = 0.0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Crowd:
        self._began = time.monotonic()
        for visit in self.visits:
            for number in range(visit.visitors):
                pause = visit.visitors / visit.rate
                thread = threading.Thread(
                    target=self._visit, args=(visit, pause, pause * number / visit.visitors), daemon=True
                )
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let every visitor finish what it is at; a slow reader reads the rest at once."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=90)

    def now(self) -> float:
        """Seconds since the crowd began, as in `Answer.at`."""
        return time.monotonic() - self._began

    def wait_for(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until `count` answers are in; AssertionError if that takes longer than `seconds`."""
        end = time.monotonic() + seconds
        while len(self.answers) < count:
            assert time.monotonic() < end, f"{len(self.answers)} of {count} answers after {seconds:.0f} s"
            time.sleep(0.1)

    def _visit(self, visit: Visit, pause: float, delay: float) -> None:
        connection: _Connection | None = None
        if self.namespace is not None:
            enter(self.namespace)
        due = time.monotonic() + delay
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            if len(self.answers) >= self.most or self.now() > self.seconds:
                break
            if connection is None:
                connection = _Connection(visit.site, self._tls, visit.timeout)
            answer = self._ask(visit, connection)
            self.answers.append(answer)
            if visit.fresh or answer.fault is not None:
                connection.close()
                connection = None
            # What is late is not made up for: the load is steady, and no burst follows a stall.
            due = max(due + pause, time.monotonic())
        if connection is not None:
            connection.close()

    def _ask(self, visit: Visit, connection: _Connection) -> Answer:
        token = f"visit-{next(_tokens)}-"
        status, fault, maintenance = None, None, False
        at = self.now()
        try:
            body = None if visit.body is None else visit.body.replace(TOKEN, token).encode()
            headers = {"User-Agent": "smallfleet-visitors"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(visit.method, visit.path.replace(TOKEN, token), body, headers)
            response = connection.getresponse()
            status = response.status
            maintenance = response.headers["X-Maintenance"] is not None
            text = self._read(response, visit.bytes_per_second)
            if status != visit.status:
                fault = f"status {status}"
            elif visit.shows.encode() not in text:
                fault = f"does not show {visit.shows!r}"
            elif TOKEN in f"{visit.path}{visit.body}" and token.encode() not in text:
                fault = "does not show what was written"
        except (OSError, http.client.HTTPException) as error:
            fault = f"{type(error).__name__}: {error}".strip(": ")
        slow = visit.bytes_per_second is not None
        took = self.now() - at
        return Answer(visit.site.name, visit.kind, at, took, status, fault, slow, maintenance, token)

    def _read(self, response: http.client.HTTPResponse, bytes_per_second: int | None) -> bytes:
        """The whole answer; of what is read slowly, nothing is kept. http.client raises on a short one."""
        if bytes_per_second is None:
            return response.read()
        left = int(response.headers["Content-Length"])
        step = max(1, bytes_per_second // 10)
        while left:
            part = response.read(min(step, left))
            if not part:
                raise http.client.IncompleteRead(b"", left)
            left -= len(part)
            self._stop.wait(0.1)
        response.read()
        return b""

    # What came of it.

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.fault is not None]

    def slowest(self) -> float:
        """Seconds; of what was not read slowly on purpose."""
        return max((answer.seconds for answer in self.answers if not answer.slow), default=0.0)

    def gap(self, site: str) -> float:
        """The longest time in seconds in which no request to `site` was answered well, for who was there."""
        good = sorted(
            (answer.at, answer.at + answer.seconds)
            for answer in self.answers
            if answer.site == site and answer.fault is None and not answer.slow
        )
        longest, last = 0.0, good[0][1] if good else 0.0
        for _, done in sorted(good, key=lambda one: one[1]):
            longest = max(longest, done - last)
            last = done
        return longest

    def rows(self) -> list[dict[str, Any]]:
        """One row per site and kind: site, kind, sent, failed, median and slowest (ms), gap (s), faults."""
        groups: dict[tuple[str, str], list[Answer]] = {}
        for answer in list(self.answers):
            groups.setdefault((answer.site, answer.kind), []).append(answer)
        rows = []
        for (site, kind), group in sorted(groups.items()):
            times = sorted(answer.seconds for answer in group)
            faults: dict[str, int] = {}
            for answer in group:
                if answer.fault is not None:
                    faults[answer.fault] = faults.get(answer.fault, 0) + 1
            rows.append(
                {
                    "site": site,
                    "kind": kind,
                    "sent": len(group),
                    "failed": sum(faults.values()),
                    "median": round(times[len(times) // 2] * 1000),
                    "slowest": round(times[-1] * 1000),
                    "gap": round(self.gap(site), 2),
                    "faults": faults,
                }
            )
        return rows

    def table(self) -> str:
        """The rows as a text table, with the whole at its end."""
        lines = [
            f"{'site':<10} {'kind':<10} {'sent':>7} {'failed':>7} {'median':>9} {'slowest':>9} {'gap':>8}"
        ]
        for row in self.rows():
            faults = ", ".join(f"{count} x {fault}" for fault, count in row["faults"].items())
            lines.append(
                f"{row['site']:<10} {row['kind']:<10} {row['sent']:>7} {row['failed']:>7} "
                f"{row['median']:>6} ms {row['slowest']:>6} ms {row['gap']:>6.2f} s  {faults}".rstrip()
            )
        rate = len(self.answers) / max(self.now(), 0.001)
        lines.append(
            f"{len(self.answers)} requests, {len(self.failed)} failed, "
            f"slowest {self.slowest() * 1000:.0f} ms, {rate:.0f}/s"
        )
        return "\n".join(lines)
