"""An SSH ProxyCommand that delays what passes, and counts it.

    ssh -o ProxyCommand="python bench/delay.py MILLISECONDS %h %p" HOST

MILLISECONDS are added to the round trip, half each way. With SMALLFLEET_BENCH_WIRE=FILE, a line of JSON for
each connection says how many bytes went out and came in, and how often the direction turned to out: the round
trips.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque

CHUNK = 1 << 16


def carry(delay: float, host: str, port: int, counts: dict[str, int]) -> None:
    """Carry stdin and stdout to the host and back, each piece `delay` seconds late, until a side ends."""
    remote = socket.create_connection((host, port))
    remote.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    late: deque[tuple[float, int, bytes]] = deque()  # when, to which file, what; b"" ends it
    last, reading = "in", [0, remote.fileno()]
    while reading or late:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else None
        ready, _, _ = select.select(reading, [], [], wait)
        for source in ready:
            data = os.read(source, CHUNK)
            way, target = ("out", remote.fileno()) if source == 0 else ("in", 1)
            counts[way] += len(data)
            counts["turns"] += way == "out" and last == "in" and bool(data)
            last = way if data else last
            if not data:
                reading.remove(source)
            late.append((time.monotonic() + delay, target, data))
        while late and late[0][0] <= time.monotonic():
            _, target, data = late.popleft()
            if not data:
                return
            while data:
                data = data[os.write(target, data) :]


def main() -> None:
    milliseconds, host, port = sys.argv[1:]
    counts = {"out": 0, "in": 0, "turns": 0}
    said = False

    def say(*_: object) -> None:
        """Write the counts, once, and end: a signal may come while that is done."""
        nonlocal said
        if said:
            return
        said = True
        if path := os.environ.get("SMALLFLEET_BENCH_WIRE"):
            with open(path, "a") as file:  # noqa: PTH123 # one write of one line
                file.write(json.dumps(counts) + "\n")
        os._exit(0)

    for name in (signal.SIGTERM, signal.SIGHUP):  # paramiko ends it by the one, ssh by the other
        signal.signal(name, say)
    with contextlib.suppress(OSError):  # either side is gone
        carry(float(milliseconds) / 2000, host, int(port), counts)
    say()


if __name__ == "__main__":
    main()
