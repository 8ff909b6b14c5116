"""The exchange itself, and the way back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smallfleet.programs.nginx_swap.asking import Answer, Question, ask_all, questions, worse
from smallfleet.programs.nginx_swap.rehearsal import REHEARSE, rehearse, rehearsed

NGINX = Path("/etc/nginx")
CANDIDATE, PREVIOUS = NGINX / "candidate", NGINX / "previous"
ERRORS = Path("/var/log/nginx/error.log")
PATIENCE = 3.0  # for a site that does not answer well right after the reload
RELOAD_SECONDS = 30.0  # a port that is taken is tried for 2.5 s before NGINX gives up


class Refused(Exception):
    """Why the new configuration does not stay, in the owner's words."""


class NotTaken(Refused):
    """NGINX has given up the reload, and runs what it ran."""


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    return done.returncode, done.stdout.strip()


def master() -> str:
    """The number of NGINX's first process; "0" if there is none."""
    return run("systemctl", "show", "--value", "--property=MainPID", "nginx.service")[1]


def workers(parent: str) -> set[int]:
    """The processes that NGINX accepts connections with; those that only finish their last are none."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "stat").read_text().rpartition(")")[2].split()[1] != parent:
                continue
            title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it has ended meanwhile
        if title.startswith("nginx: worker process") and "shutting down" not in title:
            found.add(int(process.name))
    return found


def size_of(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def emergencies(start: int) -> list[str]:
    """What NGINX could not get over, in its log from the byte `start`."""
    if not ERRORS.exists():
        return []
    with ERRORS.open("rb") as log:
        log.seek(start if start <= size_of(ERRORS) else 0)
        lines = log.read().decode(errors="replace").splitlines()
    return [re.sub(r".*\[emerg\] [0-9#]+: ", "", line) for line in lines if "[emerg]" in line]


def take() -> None:
    """Have NGINX run what lies in place; raises Refused if it goes on with what it had."""
    status, said = run("nginx", "-t", "-q")
    if status:
        raise Refused(said)
    start = size_of(ERRORS)
    old = workers(master())
    status, said = run("systemctl", "reload-or-restart", "nginx.service")
    if status:
        raise Refused("\n".join([said, *emergencies(start)]))
    end, first = time.monotonic() + RELOAD_SECONDS, master()
    while time.monotonic() < end:
        if not Path(f"/proc/{first}").exists():  # it was started anew
            first = master()
        now = workers(first)
        if now and not now & old:
            return
        given_up = [
            line for line in emergencies(start) if "still could not bind" in line or "bind()" not in line
        ]
        if given_up:
            raise NotTaken("\n".join(["NGINX goes on with what it had:", *dict.fromkeys(emergencies(start))]))
        time.sleep(0.05)
    words = dict.fromkeys(emergencies(start)) or [f"it does not start new workers in {RELOAD_SECONDS:.0f} s"]
    raise Refused("\n".join(["NGINX goes on with what it had:", *words]))


def put_in_place() -> None:
    """Put the candidate in place, and what is there aside. What may fail comes before anything is moved."""
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    PREVIOUS.mkdir()
    shutil.copy2(NGINX / "nginx.conf", PREVIOUS)
    if (NGINX / "sites").exists():
        (NGINX / "sites").rename(PREVIOUS / "sites")
    (CANDIDATE / "sites").rename(NGINX / "sites")
    (CANDIDATE / "nginx.conf").rename(NGINX / "nginx.conf")
    shutil.rmtree(CANDIDATE)


def put_back() -> None:
    """Put in place what was put aside."""
    shutil.rmtree(NGINX / "sites", ignore_errors=True)
    if (PREVIOUS / "sites").exists():
        (PREVIOUS / "sites").rename(NGINX / "sites")
    (PREVIOUS / "nginx.conf").rename(NGINX / "nginx.conf")
    shutil.rmtree(PREVIOUS)


def swap(sites: list[dict[str, Any]]) -> None:
    """See above. Raises Refused; what was there before is back then, and runs."""
    status, said = run("nginx", "-t", "-q", "-c", str(CANDIDATE / "nginx.conf"))
    if status:
        shutil.rmtree(CANDIDATE)
        raise Refused(f"{said}\nThe new configuration is not valid; the one before it stays as it was.")
    before = ask_all(questions(sites))
    if found := rehearsed(sys.argv[0], CANDIDATE / "nginx.conf", before):
        shutil.rmtree(CANDIDATE)
        raise Refused("\n".join([*found, "It was only tried beside; the configuration before it serves on."]))
    put_in_place()
    try:
        take()
        wait_until_well(before)
    except Exception as why:  # whatever it is: what has not been seen to work does not stay
        put_back()
        words = [str(why)]
        try:
            # A reload ends idle connections, and a request may just be on its way on one: none without need.
            if not isinstance(why, NotTaken):
                take()
            words.append("The configuration before it is back.")
            if still := worse(before, ask_all(before)):
                words += ["That does not help, so look at the site itself:", *still]
        except Refused as other:
            words += [
                "The configuration before it is back on the disk, but NGINX does not run it:",
                str(other),
            ]
        raise Refused("\n".join(words)) from None
    shutil.rmtree(PREVIOUS)


def wait_until_well(before: Mapping[Question, Answer]) -> None:
    end = time.monotonic() + PATIENCE
    while found := worse(before, ask_all(before)):
        if time.monotonic() > end:
            raise Refused("\n".join(found))
        time.sleep(0.2)


def main() -> int:
    if sys.argv[1] == REHEARSE:
        print(json.dumps(rehearse(sys.argv[2])))
        return 0
    try:
        swap(json.loads(sys.argv[1]))
    except Refused as why:
        print(why, file=sys.stderr)
        return 1
    return 0
