"""The new configuration in a second NGINX, where no visitor comes: in a network of its own.

It has its own log, cache and PID file as well, and the sockets, certificates and files of the real one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from smallfleet.programs.nginx_swap.asking import Answer, Question, ask_all, worse

REHEARSE = "--rehearse"
APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
REHEARSAL_SECONDS = 15.0  # for NGINX to start and all sites to answer well
OWN = ("/var/log/nginx", "/var/cache/nginx")
# In its log: what it could not reach by a network. smallfleet's apps are reached by sockets on the disk.
OUTSIDE = re.compile(r'upstream: "[a-z]+://(?!unix:)|could not be resolved|\[emerg\]')


def rehearsed(program: str, configuration: Path, before: Mapping[Question, Answer]) -> list[str]:
    """What would be worse with the configuration, in the owner's words.

    Nothing where it cannot be rehearsed: it listens on an address of the droplet, or asks other machines.
    """
    words = [*APART, sys.executable, program, REHEARSE, str(configuration)]
    asked = json.dumps([[astuple(question), astuple(answer)] for question, answer in before.items()])
    try:
        done = subprocess.run(words, input=asked, capture_output=True, text=True, timeout=60, check=False)
        return [str(line) for line in json.loads(done.stdout)]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []


def rehearse(configuration: str) -> list[str]:
    """The same from inside of the network of its own. What was answered before comes on standard input."""
    before = {Question(*question): Answer(*answer) for question, answer in json.load(sys.stdin)}
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for directory in OWN:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "rehearsal", directory], check=True)
    pid = Path(OWN[0]) / "pid"
    pid.touch()
    subprocess.run(["mount", "--bind", str(pid), "/run/nginx.pid"], check=True)
    words = ["nginx", "-c", configuration, "-g", "daemon off;"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as nginx:
        try:
            end = time.monotonic() + REHEARSAL_SECONDS
            while found := worse(before, ask_all(before)):
                log = Path(OWN[0]) / "error.log"
                if nginx.poll() is not None or (log.exists() and OUTSIDE.search(log.read_text())):
                    return []
                if time.monotonic() > end:
                    return found
                time.sleep(0.05)
            return []
        finally:
            nginx.kill()
