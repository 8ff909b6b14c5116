#!/usr/bin/env python3
"""NGINX takes a new configuration, and keeps it only if every site that answered before answers still.

    nginx_swap.py SITES    SITES as JSON: [{"domain", "aliases", "paths", "health", "directories"}]

What is new lies in /etc/nginx/candidate. It is tried by `nginx -t`; the sites are asked; it takes the place
of what is there; NGINX reloads, which has happened when its workers are new; the sites are asked again. If
NGINX or a site does not go along, what was there before is put back and NGINX reloads that. Status 1 then.

`health` must give 200 as before, `paths` no error; of each of `directories` {URL prefix: directory} one file
that is there is asked for. Python's standard library only; Python 3.10+; as root on the droplet.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NGINX = Path("/etc/nginx")
CANDIDATE, PREVIOUS = NGINX / "candidate", NGINX / "previous"
ERRORS = Path("/var/log/nginx/error.log")
ANSWER_SECONDS = 5.0  # for one answer
PATIENCE = 3.0  # for a site that does not answer well right after the reload
RELOAD_SECONDS = 30.0  # a port that is taken is tried for 2.5 s before NGINX gives up


class Refused(Exception):
    """Why the new configuration does not stay, in the owner's words."""


@dataclass(frozen=True)
class Question:
    """One request to NGINX on loopback. `exact`: only 200 will do; `head`: without what is in it."""

    scheme: str
    domain: str
    path: str
    exact: bool = False
    head: bool = False

    def __str__(self) -> str:
        return f"{self.scheme}://{self.domain}{self.path}"


@dataclass(frozen=True)
class Answer:
    """`status` is None if there was none, and `error` says why; `certificate`: what is wrong with it."""

    status: int | None
    error: str = ""
    certificate: str = ""

    def good(self, question: Question) -> bool:
        if self.status is None:
            return False
        # 429: NGINX limits how often it is asked, and so answers.
        return self.status == 200 if question.exact else self.status < 400 or self.status == 429

    def __str__(self) -> str:
        return f"answers {self.status}" if self.status is not None else f"does not answer ({self.error})"


def questions(sites: Iterable[Mapping[str, Any]]) -> list[Question]:
    """What is asked of the sites."""
    asked = []
    for site in sites:
        domain = site["domain"]
        asked += [Question(scheme, domain, "/") for scheme in ("http", "https")]
        asked += [Question("https", alias, "/") for alias in site["aliases"]]
        asked += [Question("https", domain, path) for path in site["paths"]]
        if site["health"]:
            asked.append(Question("https", domain, site["health"], exact=True))
        for url, directory in site["directories"].items():
            if (file := one_file(Path(directory))) is not None:
                asked.append(Question("https", domain, f"{url}{file}", head=True))
    return list(dict.fromkeys(asked))


def one_file(directory: Path) -> Path | None:
    """Some file that is to be seen under the directory, relative to it, with a name that needs no quoting."""
    found = (path.relative_to(directory) for path in sorted(directory.rglob("*"))[:1000] if path.is_file())
    plain = (path for path in found if re.fullmatch(r"[A-Za-z0-9._/-]+", str(path)))
    return next((path for path in plain if not any(part.startswith(".") for part in path.parts)), None)


def ask(question: Question) -> Answer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `flaw` looks at it
    certificate = ""
    try:
        port = 443 if question.scheme == "https" else 80
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as plain:
            connection = http.client.HTTPConnection(question.domain, timeout=ANSWER_SECONDS)
            connection.sock = plain
            if question.scheme == "https":
                secure = context.wrap_socket(plain, server_hostname=question.domain)
                certificate = flaw(secure.getpeercert(binary_form=True) or b"", question.domain)
                connection.sock = secure
            headers = {"User-Agent": "smallfleet", "Connection": "close"}
            connection.request("HEAD" if question.head else "GET", question.path, headers=headers)
            return Answer(connection.getresponse().status, certificate=certificate)
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, str(error) or type(error).__name__, certificate)


def flaw(certificate: bytes, domain: str) -> str:
    """What a browser would not like about the certificate (DER), beside who signed it; "" for nothing."""
    said = ""
    for question in (["-subject", "-issuer", "-checkhost", domain], ["-checkend", "0"]):  # not in one
        words = ["openssl", "x509", "-inform", "DER", "-noout", *question]
        done = subprocess.run(words, input=certificate, capture_output=True, check=False)
        said += done.stdout.decode(errors="replace") + "\n"
    names = re.findall(r"^(?:subject|issuer)=(.*)$", said, re.MULTILINE)
    if "does NOT match" in said:
        return "is for another name"
    if "Certificate will expire" in said:
        return "has expired"
    return "is signed by nobody" if len(names) == 2 and names[0] == names[1] else ""


def ask_all(asked: Iterable[Question]) -> dict[Question, Answer]:
    wanted = list(asked)
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(wanted, pool.map(ask, wanted), strict=True))


def worse(before: Mapping[Question, Answer], after: Mapping[Question, Answer]) -> list[str]:
    """What was well before and is not any more, in the owner's words."""
    found = []
    for question, was in before.items():
        now = after[question]
        if was.good(question) and was.status != 429 and not now.good(question):
            found.append(f"{question} answered {was.status} before, and now {now}")
        elif was.status and now.status and now.certificate and not was.certificate:
            found.append(f"{question}: its certificate {now.certificate}, the one before was good")
    return found


# ---- NGINX


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    return done.returncode, done.stdout.strip()


def workers() -> set[int]:
    """The processes that NGINX accepts connections with; those that only finish their last are none."""
    master = run("systemctl", "show", "--value", "--property=MainPID", "nginx.service")[1]
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue  # it has ended meanwhile
        if parent == master and title.startswith("nginx: worker process") and "shutting down" not in title:
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
    old = workers()
    status, said = run("systemctl", "reload-or-restart", "nginx.service")
    if status:
        raise Refused("\n".join([said, *emergencies(start)]))
    end = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < end:
        now = workers()
        if now and not now & old:
            return
        given_up = [
            line for line in emergencies(start) if "still could not bind" in line or "bind()" not in line
        ]
        if given_up:
            break
        time.sleep(0.05)
    words = list(dict.fromkeys(emergencies(start))) or [
        f"it does not start new workers in {RELOAD_SECONDS:.0f} s"
    ]
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
    asked = questions(sites)
    before = ask_all(asked)
    put_in_place()
    try:
        take()
        wait_until_well(before)
    except Exception as why:  # whatever it is: what has not been seen to work does not stay
        put_back()
        words = [str(why)]
        try:
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
    try:
        swap(json.loads(sys.argv[1]))
    except Refused as why:
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
