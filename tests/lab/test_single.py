"""The same roles on one droplet, with secrets that are hard to quote; and that no secret is seen anywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import BIN, SITES, Workplace, all_answer, eventually, workplace

INVENTORY = "inventory/single.py"
CANARIES = {
    "podcast/session_secret": """canary "q" 'a' $HOME `id` \\ % # ü""",
    "mongodb/podcast": "canary:/p@ss?w#rd%41&",
    "mongodb/admin": 'canary-admin "$(id)"',
}


class Single:
    """The one droplet, deployed from nothing at pyinfra's loudest, and what that run printed."""

    def __init__(self, place: Workplace, printed: str, processes: str) -> None:
        self.place, self.printed, self.processes = place, printed, processes

    def secrets(self) -> dict[str, str]:
        """All secrets of the fleet in clear, by name, and the API token."""
        lab = Lab.load(self.place.lab)
        program = (
            "import json; from pathlib import Path; from smallfleet.inventory import load_inventory;"
            f"secrets = load_inventory(Path({INVENTORY!r})).open_secrets();"
            "print(json.dumps({name: secret.reveal() for name, secret in secrets.items()}))"
        )
        return {**json.loads(self.place.run("python", "-c", program).stdout), "token": lab.token}


def forms(secret: str) -> set[str]:
    """How a secret could be seen: as it is, quoted for a shell, a URL, Python or JSON, in base64."""
    lines = [line for line in secret.splitlines() if len(line) >= 12] or [secret]
    found = set()
    for text in [secret, *lines]:
        found |= {text, shlex.quote(text), quote(text, safe=""), quote(text), repr(text)[1:-1]}
        found |= {text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")}
        # Of base64 the middle: what stands before and after shifts the rest.
        for shift in range(3):
            middle = base64.b64encode(b"\0" * shift + text.encode()).decode()[4:-4]
            if len(middle) >= 12:
                found.add(middle)
    return found


def seen_in(text: str, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets of which `text` has some form."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]


WATCH = (  # what each process is called with, every 0.2 s
    "while [ ! -e /run/watch.end ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' "
    ">> /run/watch.seen; echo >> /run/watch.seen; sleep 0.2; done"
)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Single]:
    with workplace(tmp_path_factory.mktemp("single")) as place:
        for name, text in CANARIES.items():
            subprocess.run(
                [str(BIN / "fleet"), "secrets", "set", INVENTORY, name],
                cwd=place.directory,
                env={**os.environ, "SMALLFLEET_LAB": place.lab},
                input=text,
                text=True,
                check=True,
                capture_output=True,
            )
        # Make the droplet first, so that its processes can be watched from the first operation on.
        (place.directory / "deploys/first.py").write_text(
            "from pyinfra.operations import files\n"
            'files.put(name="Watch", src="watch.sh", dest="/run/watch.sh", mode="755")\n'
        )
        (place.directory / "watch.sh").write_text(f"#!/bin/sh\n{WATCH}\n")
        place.run("pyinfra", INVENTORY, "deploys/first.py", "-y")
        place.ssh("single", "setsid /run/watch.sh >/dev/null 2>&1 </dev/null &")
        loud = ("-vvv", "--diff", "--debug", "--debug-facts", "--debug-operations")
        done = place.run("pyinfra", *loud[:2], INVENTORY, "deploys/site.py", "-y")
        printed = done.stdout + done.stderr
        for words in (loud[:2], loud[2:]):
            shown = place.run("pyinfra", *words, INVENTORY, "deploys/site.py", "--dry", "--limit", "single")
            printed += shown.stdout + shown.stderr
        place.ssh("single", "touch /run/watch.end")
        yield Single(place, printed, place.ssh("single", "cat /run/watch.seen"))


def test_one_droplet_serves_all_seven_sites(single: Single) -> None:
    eventually(lambda: all_answer(single.place, INVENTORY), "all seven sites answer 200")


class Visitor:
    """Asks the sites as curl does, their certificates verified against the lab's CA."""

    def __init__(self, place: Workplace) -> None:
        answers = place.sites(INVENTORY)
        self.options = ["--silent", "--show-error", "--cacert", str(Lab.load(place.lab).ca)]
        for domain in [*(answer["url"].split("/")[2] for answer in answers), "www.podcast.example.com"]:
            for port in ("80", "443"):
                self.options += ["--resolve", f"{domain}:{port}:{answers[0]['address']}"]

    def ask(self, url: str, *words: str) -> tuple[str, dict[str, str]]:
        """(status and version, such as "200 2"; headers in small letters) of a GET."""
        form = ["--dump-header", "-", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"]
        done = subprocess.run(
            ["curl", *self.options, *form, *words, url], capture_output=True, text=True, check=True
        )
        lines = done.stdout.splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        return lines[-1], headers


@pytest.fixture(scope="module")
def visitor(single: Single) -> Visitor:
    eventually(lambda: all_answer(single.place, INVENTORY), "all seven sites answer 200")
    return Visitor(single.place)


def test_pages_come_over_http2_with_headers_that_protect(visitor: Visitor) -> None:
    status, headers = visitor.ask("https://podcast.example.com/", "--compressed")
    assert status == "200 2"
    assert headers["content-encoding"] == "gzip"
    assert {"strict-transport-security", "x-content-type-options", "referrer-policy"} <= headers.keys()
    assert headers["server"] == "nginx", "without its version"


def test_http_and_other_names_lead_to_the_site(visitor: Visitor) -> None:
    for url in ("http://podcast.example.com/a?b=1", "https://www.podcast.example.com/a?b=1"):
        status, headers = visitor.ask(url)
        assert status.startswith("301") and headers["location"] == "https://podcast.example.com/a?b=1"


def test_a_public_page_is_kept_and_static_files_are_for_ever(visitor: Visitor) -> None:
    feed = "https://podcast.example.com/feed.rss"
    visitor.ask(feed)
    assert visitor.ask(feed)[1]["x-cache"] == "hit"
    status, headers = visitor.ask("https://podcast.example.com/static/site.css")
    assert status == "200 2" and "immutable" in headers["cache-control"]


def test_big_files_come_in_ranges(visitor: Visitor) -> None:
    file = "https://media.example.com/files/hello-droplet.mp3"
    status, headers = visitor.ask(file, "--range", "1000-1999")
    assert status == "206 2"
    assert headers["content-length"] == "1000"
    assert headers["content-range"].startswith("bytes 1000-1999/")


def test_who_asks_too_often_is_told_so(visitor: Visitor) -> None:
    # 40 at once and 20 a second are let through: of 400 in a row over one connection some are not.
    urls = ["https://podcast.example.com/health"] * 400
    command = [
        "curl",
        *visitor.options,
        "--parallel",
        "--parallel-max",
        "50",
        "--write-out",
        "%{http_code}\n",
    ]
    for url in urls:
        command += ["--output", "/dev/null", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"200", "429"}


def test_a_second_run_changes_nothing(single: Single) -> None:
    assert single.place.deploy(INVENTORY, "deploys/site.py") == {"single": []}


def test_no_secret_is_printed_or_shown_in_the_list_of_processes(single: Single) -> None:
    secrets = single.secrets()
    assert set(CANARIES) < set(secrets)
    assert len(single.printed) > 10_000 and single.processes.count("\n") > 20, "there was something to see"
    assert "sshd" in single.processes
    assert seen_in(single.printed, secrets) == []
    assert seen_in(single.processes, secrets) == []


SEARCH = r"""
import json, os, stat, subprocess, sys
forms = {name: [form.encode() for form in some] for name, some in json.load(sys.stdin).items()}
found = set()
for top in ("/etc", "/srv", "/opt", "/usr/local", "/var", "/run", "/tmp", "/root", "/home"):
    for place, directories, files in os.walk(top):
        directories[:] = [d for d in directories if not os.path.ismount(os.path.join(place, d))]
        for file in files:
            path = os.path.join(place, file)
            try:
                kept = os.lstat(path)
                if not stat.S_ISREG(kept.st_mode) or kept.st_size > 300_000_000:
                    continue
                content = open(path, "rb").read()
            except OSError:
                continue
            for name, some in forms.items():
                if any(form in content for form in some):
                    found.add((name, path, oct(kept.st_mode & 0o777), kept.st_uid))
journal = subprocess.run(["journalctl", "-q", "--no-pager", "-o", "export"], capture_output=True).stdout
found |= {(name, "journal", "", 0) for name, some in forms.items() if any(form in journal for form in some)}
print(json.dumps(sorted(found)))
"""


def test_a_secret_lies_only_where_its_user_alone_can_read_it(single: Single) -> None:
    said = json.dumps({name: sorted(forms(text)) for name, text in single.secrets().items()})
    single.place.ssh("single", f"cat > /root/search.py <<'PY'\n{SEARCH}\nPY")
    done = subprocess.run(
        [str(BIN / "fleet"), "lab", "ssh", "single", "--name", single.place.lab, "python3 /root/search.py"],
        input=said,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for name, path, mode, user in json.loads(done.stdout):
        assert mode in ("0o400", "0o600"), f"{name} in {path} with mode {mode}"
        found.setdefault(path, set()).add(name)
        if path.startswith("/etc/smallfleet/apps/"):
            assert user == 0
    assert "token" not in {name for names in found.values() for name in names}
    apps = {
        re.sub(r".*/|(\.serving)?\.env$", "", path)
        for path in found
        if path.startswith("/etc/smallfleet/apps/")
    }
    assert apps == SITES
    for app in SITES:
        for kind in ("", ".serving"):
            names = found[f"/etc/smallfleet/apps/{app}{kind}.env"]
            assert names == {f"mongodb/{app}", f"{app}/session_secret"}, (
                "an app has its own secrets and no other's"
            )
    elsewhere = {path for path in found if not path.startswith(("/etc/smallfleet/", "/var/lib/mongodb/"))}
    assert elsewhere == set()


def test_the_app_gets_a_secret_as_it_was_set(single: Single) -> None:
    read = (
        "pid=$(systemctl show -P MainPID 'podcast@*.service' | head -1); "
        "tr '\\0' '\\n' < /proc/$pid/environ | sed -n s/^SESSION_SECRET=//p"
    )
    assert single.place.ssh("single", read).rstrip("\n") == CANARIES["podcast/session_secret"]


def test_all_come_back_after_a_reboot(single: Single) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = single.place.ssh("single", boot)
    single.place.ssh("single", "systemctl --no-block reboot", check=False)
    eventually(
        lambda: single.place.ssh("single", boot, check=False) not in ("", before), "it has booted anew"
    )
    eventually(lambda: all_answer(single.place, INVENTORY), "all seven sites answer after the reboot")
