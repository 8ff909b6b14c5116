"""What the sites are asked, and when an answer is worse than the one before."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 5.0  # for one answer


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


def ask(question: Question) -> tuple[Answer, bytes]:
    """The answer, and the certificate (DER) that it came with, not yet looked at; b"" for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `flaw` looks at it
    certificate = b""
    try:
        port = 443 if question.scheme == "https" else 80
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as plain:
            connection = http.client.HTTPConnection(question.domain, timeout=ANSWER_SECONDS)
            connection.sock = plain
            if question.scheme == "https":
                secure = context.wrap_socket(plain, server_hostname=question.domain)
                certificate = secure.getpeercert(binary_form=True) or b""
                connection.sock = secure
            headers = {"User-Agent": "smallfleet", "Connection": "close"}
            connection.request("HEAD" if question.head else "GET", question.path, headers=headers)
            return Answer(connection.getresponse().status), certificate
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, str(error) or type(error).__name__), certificate


@cache  # of the many answers of a site: openssl is slow to start
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
        answers = list(pool.map(ask, wanted))
    return {
        question: replace(answer, certificate=flaw(certificate, question.domain)) if certificate else answer
        for question, (answer, certificate) in zip(wanted, answers, strict=True)
    }


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
