#!/usr/bin/env python3
"""Maintenance of the sites of this droplet (installed as /usr/local/sbin/smallfleet-maintenance).

    smallfleet-maintenance on NAME… --for 10m [--message TEXT] [--reason WORD] [--drain SECONDS]
    smallfleet-maintenance on NAME… --until 1767225600 …
    smallfleet-maintenance off NAME… [--when-healthy] [--within SECONDS]
    smallfleet-maintenance status            one JSON object {NAME: {"until", "since", "message", "reason"}}
    smallfleet-maintenance watch             end what is over; smallfleet-maintenance.service does that

A site is in maintenance while /var/lib/smallfleet/maintenance/on/NAME is there: NGINX looks at it at each
request, so that nothing is reloaded. The file holds when it ends, and outlasts a reboot. Whoever switched it
on may be gone by then: systemd starts `watch` whenever some site is in maintenance, also after a boot. A
maintenance that ends later and was begun for another reason is left as it is.

`on` returns when the requests that were in the app have been answered, or after --drain seconds.
`off --when-healthy` returns when the app has answered its own health check, which asks MongoDB as the
site's own user; status 1 if it did not --within so many seconds, and the maintenance then goes on to its end.
Times are seconds since 1970. Python's standard library only. Python 3.10+.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOM = Path("/var/lib/smallfleet/maintenance")
APPS = Path("/etc/smallfleet/apps")
SOCKETS = Path("/proc/net/unix")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
MESSAGE = "We are at work on this site. It will be back in a moment."
LONG = 180  # seconds; who asks in a maintenance longer than that is told to come back later than otherwise
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Failure(Exception):
    """What the owner is told."""


# ---- what NGINX serves


def page(message: str) -> str:
    """The page that a person sees. It looks after itself: no style sheet, no picture, no script."""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="10">
<title>Back in a moment</title>
<style>
 body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 20vh auto 0; padding: 0 1.5rem; }}
 @media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} }}
</style>
<h1>Back in a moment</h1>
<p>{html.escape(message)}</p>
<p>This page looks again by itself.</p>
</html>
"""


def write(path: Path, text: str) -> None:
    """Replace a file by one that all can read, never half written."""
    partial = path.with_name(f".{path.name}.new")
    partial.write_text(text)
    partial.chmod(0o644)
    partial.replace(path)


def prepare(name: str, message: str = MESSAGE) -> None:
    """Write the site's pages. They stay: NGINX may be about to serve one when the maintenance ends."""
    if not NAME.fullmatch(name):
        raise Failure(f"{name!r} is no site's name")
    for part in ("on", "long", "pages"):
        (ROOM / part).mkdir(mode=0o755, parents=True, exist_ok=True)
    write(ROOM / f"pages/{name}.html", page(message))
    write(ROOM / f"pages/{name}.json", json.dumps({"error": "maintenance", "message": message}) + "\n")


def switch_on(name: str, until: float, message: str, reason: str) -> None:
    there = status().get(name)
    if there and there["reason"] != reason and there["until"] >= until:
        return
    prepare(name, message)
    now = time.time()
    if until - now > LONG:
        (ROOM / "long" / name).touch()
    else:
        (ROOM / "long" / name).unlink(missing_ok=True)
    said = {"since": round(now, 1), "until": round(until, 1), "message": message, "reason": reason}
    write(ROOM / "on" / name, json.dumps(said) + "\n")  # last: it is what NGINX looks at


def switch_off(name: str) -> None:
    (ROOM / "on" / name).unlink(missing_ok=True)


def status() -> dict[str, dict[str, Any]]:
    """The sites that are in maintenance, with what was said when it was switched on."""
    found = {}
    for file in sorted(ROOM.glob("on/[a-z]*")):
        try:
            found[file.name] = dict(json.loads(file.read_text()))
        except FileNotFoundError:
            continue  # it has just ended
        except ValueError:
            found[file.name] = {"since": 0, "until": 0, "message": "", "reason": "unreadable"}
    return found


def over(now: float) -> list[str]:
    """The sites whose maintenance has come to its end."""
    return [name for name, said in status().items() if float(said.get("until", 0)) <= now]


def watch() -> None:
    """End each maintenance when its time has come; returns when there is none."""
    while status():
        for name in over(time.time()):
            switch_off(name)
            print(f"{name}: the maintenance was not ended in time, so it ends by itself", flush=True)
        time.sleep(0.5)


# ---- the app


def busy(name: str) -> bool:
    """Whether a request is in the app: a connection to its socket that is not the listening one itself."""
    for line in SOCKETS.read_text().splitlines()[1:]:
        # Num RefCount Protocol Flags Type St Inode Path; the flag 0x10000 is that of a listening socket.
        words = line.split()
        if len(words) > 7 and words[7] == f"/run/{name}/uwsgi.sock" and not int(words[3], 16) & 0x10000:
            return True
    return False


def drain(names: Iterable[str], seconds: float) -> list[str]:
    """Wait until no request is in the apps; those that are still busy after `seconds`."""
    end = time.monotonic() + seconds
    time.sleep(0.05)  # a request that had passed the flag is in the app by then
    while (left := [name for name in names if busy(name)]) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def answers(name: str, seconds: float) -> bool:
    """Whether the app's health check gives 200, asked in uwsgi's protocol on the socket that NGINX uses."""
    spec = json.loads((APPS / f"{name}.json").read_text())
    request = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": spec["health"],
        "PATH_INFO": spec["health"],
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": spec["domain"],
        "SERVER_PORT": "443",
        "HTTP_HOST": spec["domain"],
        "HTTP_USER_AGENT": "smallfleet-maintenance",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_SCHEME": "https",
        "HTTPS": "on",
    }
    body = b"".join(
        struct.pack("<H", len(text)) + text for pair in request.items() for text in map(str.encode, pair)
    )
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(f"/run/{name}/uwsgi.sock")
            connection.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
            while b"\r\n" not in answer and (part := connection.recv(4096)):
                answer += part
    except OSError:
        return False
    return answer.split(b" ")[1:2] == [b"200"]


def off_when_healthy(name: str, within: float) -> bool:
    """End the maintenance as soon as the app is healthy; False if it is not, `within` seconds."""
    end = time.monotonic() + within
    while (left := end - time.monotonic()) > 0:
        # An app that waits for MongoDB answers when it is back: nothing is gained by asking more often.
        if answers(name, min(left, 10)):
            switch_off(name)
            return True
        time.sleep(0.1)
    return False


def all_off_when_healthy(names: Sequence[str], within: float) -> list[str]:
    """As above for several sites side by side; those that are not healthy."""
    back: dict[str, bool] = {}

    def one(name: str) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            back[name] = off_when_healthy(name, within)

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [name for name in names if not back.get(name)]


# ---- the verbs


def seconds_of(text: str) -> float:
    """Seconds from "90", "30s", "10m" or "2h"."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 90, 30s, 10m and 2h are")
    return float(found[1]) * UNITS[found[2]]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smallfleet-maintenance", description="Maintenance of sites.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    on = verbs.add_parser("on")
    on.add_argument("names", nargs="+")
    end = on.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", type=float)
    end.add_argument("--for", dest="seconds", type=seconds_of)
    on.add_argument("--message", default=MESSAGE)
    on.add_argument("--reason", default="by hand")
    on.add_argument("--drain", type=seconds_of, default=5.0)
    off = verbs.add_parser("off")
    off.add_argument("names", nargs="+")
    off.add_argument("--when-healthy", action="store_true")
    off.add_argument("--within", type=seconds_of, default=120.0)
    verbs.add_parser("status")
    verbs.add_parser("watch")
    return parser


def carry_out(wanted: argparse.Namespace) -> int:
    if wanted.verb == "status":
        print(json.dumps(status()))
    elif wanted.verb == "watch":
        watch()
    elif wanted.verb == "on":
        until = wanted.until or time.time() + wanted.seconds
        for name in wanted.names:
            switch_on(name, until, wanted.message, wanted.reason)
        for name in drain(wanted.names, wanted.drain):
            print(f"{name}: a request is still being answered after {wanted.drain:g} s", file=sys.stderr)
    elif wanted.when_healthy:
        if ill := all_off_when_healthy(wanted.names, wanted.within):
            raise Failure(f"{', '.join(ill)}: not healthy within {wanted.within:g} s, still in maintenance")
    else:
        for name in wanted.names:
            switch_off(name)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return carry_out(parser().parse_args(arguments))
    except (Failure, OSError) as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
