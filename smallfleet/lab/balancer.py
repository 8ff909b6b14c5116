"""One load balancer of a lab, a process in a namespace of its own: python -m smallfleet.lab.balancer CONFIG

TCP in, TCP out, as DigitalOcean's regional load balancer does it: a new connection goes to the next healthy
target, one that cannot be made goes to the one after; what is open stays open, also to a target that has
become unhealthy. CONFIG is JSON, read anew on SIGHUP:

    {"address": public address, "ports": {"443": 8443}, "proxy_protocol": true, "targets": ["10.116.0.3"],
     "check": {"protocol": "http" or "tcp", "port", "path", "check_interval_seconds",
               "response_timeout_seconds", "unhealthy_threshold", "healthy_threshold"}}
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import signal
import sys
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 2.0
TRIES = 3


class Balancer:
    """The state of one load balancer: its configuration, and which targets are healthy."""

    def __init__(self, config: Path) -> None:
        self.path = config
        self.config: dict[str, Any] = {}
        self.healthy: dict[str, bool] = {}
        self._turns = itertools.count()
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._open: set[asyncio.Task[None] | None] = set()

    async def load(self) -> None:
        """Take the configuration; targets that stay keep their health."""
        self.config = json.loads(self.path.read_text())
        targets = self.config["targets"]
        for target in [gone for gone in self._checks if gone not in targets]:
            self._checks.pop(target).cancel()
            self.healthy.pop(target, None)
        for target in targets:
            if target not in self._checks:
                self._checks[target] = asyncio.create_task(self._watch(target))
        ports = {int(port) for port in self.config["ports"]}
        for port in ports - self._servers.keys():
            serve = functools.partial(self._serve, port)
            self._servers[port] = await asyncio.start_server(
                serve, self.config["address"], port, backlog=1024
            )
        for port in self._servers.keys() - ports:
            self._servers.pop(port).close()

    # Health.

    async def _watch(self, target: str) -> None:
        in_row = 0
        while True:
            check = self.config["check"]
            healthy, before = await self._check(target, check), self.healthy.get(target)
            in_row = in_row + 1 if healthy != before else 0
            needed = check["healthy_threshold"] if healthy else check["unhealthy_threshold"]
            # One that is new is out until it has passed its first check.
            if before is None or in_row >= needed:
                self.healthy[target], in_row = healthy, 0
                print(f"{target} is {'healthy' if healthy else 'unhealthy'}", flush=True)
            await asyncio.sleep(check["check_interval_seconds"])

    async def _check(self, target: str, check: dict[str, Any]) -> bool:
        with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError, IndexError):
            async with asyncio.timeout(check["response_timeout_seconds"]):
                reader, writer = await asyncio.open_connection(target, check["port"])
                try:
                    if check["protocol"] == "tcp":
                        return True
                    if self.config["proxy_protocol"]:
                        writer.write(b"PROXY UNKNOWN\r\n")
                    writer.write(f"GET {check['path']} HTTP/1.0\r\nHost: {target}\r\n\r\n".encode())
                    return 200 <= int((await reader.readline()).split()[1]) < 400
                finally:
                    writer.close()
        return False

    # Traffic.

    def _order(self) -> list[str]:
        """The healthy targets, the one whose turn it is first."""
        well = [target for target in self.config["targets"] if self.healthy.get(target)]
        first = next(self._turns) % len(well) if well else 0
        return well[first:] + well[:first]

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._open.add(task)  # the loop itself does not hold on to it
        try:
            for target in self._order()[:TRIES]:
                with contextlib.suppress(OSError, asyncio.TimeoutError):
                    async with asyncio.timeout(CONNECT_SECONDS):
                        there = await asyncio.open_connection(target, self.config["ports"][str(port)])
                    if self.config["proxy_protocol"]:
                        source, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
                        line = f"PROXY TCP4 {source[0]} {here[0]} {source[1]} {here[1]}\r\n"
                        there[1].write(line.encode())
                    await _both_ways((reader, writer), there)
                    return
        finally:
            writer.close()
            self._open.discard(task)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _both_ways(here: Ends, there: Ends) -> None:
    """Pass on what comes from either end, until both have said their last."""
    try:
        await asyncio.gather(_one_way(here[0], there[1]), _one_way(there[0], here[1]))
    finally:
        there[1].close()


async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
        writer.write_eof()
    except OSError:
        # Cut off at one end is cut off at the other.
        writer.transport.abort()


async def main() -> None:
    balancer = Balancer(Path(sys.argv[1]))
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loading: set[asyncio.Task[None]] = set()

    def again() -> None:
        task = asyncio.create_task(balancer.load())
        loading.add(task)
        task.add_done_callback(loading.discard)

    loop.add_signal_handler(signal.SIGHUP, again)
    await balancer.load()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
