"""Asking an app for its health, in uwsgi's protocol."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

from smallfleet.programs.release.app import App, ReleaseError
from smallfleet.programs.release.system import journal, last_lines, losses, systemctl_state

WATCH_SECONDS = 3.0  # for one answer
WATCH_PAUSE = 0.5  # seconds between two looks


def packet(variables: dict[str, str]) -> bytes:
    """A uwsgi request: a 4-byte header (modifiers 0, size), then each key and value after its length."""
    body = b""
    for key, value in variables.items():
        for text in (key.encode(), value.encode()):
            body += struct.pack("<H", len(text)) + text
    return struct.pack("<BHB", 0, len(body), 0) + body


def status_of(answer: bytes) -> int:
    """The status in an answer ("HTTP/1.1 200 OK"); 0 if there is none."""
    words = answer.split(b"\r\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def ask(path: Path, url: str, domain: str, seconds: float) -> int:
    """GET `url` from the app behind the unix socket `path`; its status. Raises OSError."""
    route, _, query = url.partition("?")
    request = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": url,
        "PATH_INFO": route,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": domain,
        "SERVER_PORT": "443",
        "HTTP_HOST": domain,
        "HTTP_USER_AGENT": "smallfleet-release",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_SCHEME": "https",
        "HTTPS": "on",
        "CONTENT_LENGTH": "",
        "CONTENT_TYPE": "",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(packet(request))
        answer = b""
        while b"\r\n" not in answer:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    return status_of(answer)


def fault(app: App, path: Path, seconds: float) -> str | None:
    """What is wrong with the release behind `path`, in a few words; None if it answers 200 in time."""
    try:
        status = ask(path, app.health, app.domain, seconds)
    except OSError as error:
        return str(error)
    return None if status == 200 else f"answered {status or 'nothing'}"


def unhealthy(app: App, unit: str, why: str) -> ReleaseError:
    return ReleaseError(f"{unit} is not healthy ({app.health}: {why}):\n{last_lines(journal(unit))}")


def wait_healthy(app: App, unit: str, path: Path, times: int = 1) -> None:
    """Wait until the release behind `path` has answered 200 so many `times` in a row.

    Raises ReleaseError, with the unit's last words.
    """
    end = time.monotonic() + app.start_seconds
    seen, good = "no answer", 0
    while time.monotonic() < end:
        wrong = fault(app, path, max(0.1, end - time.monotonic()))
        if wrong is None:
            good += 1
            if good == times:
                return
        else:
            if systemctl_state(unit) in ("failed", "inactive"):
                seen = "it ended by itself"
                break
            # One that answers may get well, which takes longer than beginning to answer.
            time.sleep(0.5 if wrong.startswith("answered") else 0.1)
            seen, good = wrong, 0
    lost = losses(unit)
    if lost["out of memory"]:
        seen += ", and it ran out of its memory"
    elif lost["killed"]:
        seen += ", killed as the kernel does where its memory has run out"
    raise unhealthy(app, unit, seen)


def watch(app: App, unit: str, path: Path) -> None:
    """Look at a release that serves for `app.watch` seconds. Raises ReleaseError if it turns bad.

    Bad is: it was started anew, one of its processes ran out of the unit's memory, or it was not healthy
    three times in a row; once may be a hiccup, of the database for example.
    """
    before = losses(unit)
    end = time.monotonic() + app.watch
    wrong: list[str] = []
    while time.monotonic() < end or wrong:
        now = losses(unit)
        if now["out of memory"] > before["out of memory"]:
            raise unhealthy(app, unit, "it ran out of its memory")
        if now["restarts"] > before["restarts"]:
            raise unhealthy(app, unit, "it ended by itself")
        seen = fault(app, path, WATCH_SECONDS)
        wrong = [*wrong, seen] if seen else []
        if len(wrong) == 3:
            raise unhealthy(app, unit, wrong[-1])
        time.sleep(WATCH_PAUSE)
