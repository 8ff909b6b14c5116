"""A fleet's life as its owner sees it: asked, created, destroyed; and a lab that leaves nothing."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smallfleet.cloud.client import Client
from smallfleet.lab.descriptor import Lab
from smallfleet.secrets import Secret
from tests.lab.conftest import BIN, Workplace, eventually, traces, workplace

QUICK = """from pyinfra.operations import files

files.directory(name="A directory", path="/srv/made")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("life")) as place:
        (place.directory / "deploys/quick.py").write_text(QUICK)
        place.write_inventory("two", {"one": ["nginx"], "two": ["nginx"]})
        yield place


def account(place: Workplace) -> dict[str, list[Any]]:
    """The names of what the account has, by kind; sorted, as droplets made at once come in any order."""
    lab = Lab.load(place.lab)
    client = Client(lab.api, Secret(lab.token))
    kinds = ("droplets", "vpcs", "firewalls", "domains")
    return {kind: sorted(thing["name"] for thing in client.get(kind)[kind]) for kind in kinds}


def typed(place: Workplace, answers: dict[str, str], *words: str) -> tuple[int, str]:
    """Run a command at a terminal, which answers each question that it shows; (status, what it showed)."""
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [str(BIN / words[0]), *words[1:]],
        cwd=place.directory,
        env={**os.environ, "SMALLFLEET_LAB": place.lab, "PYINFRA_PROGRESS": "off", "COLUMNS": "200"},
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    shown, left, end = b"", dict(answers), time.monotonic() + 300
    try:
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    part = os.read(terminal, 65536)
                except OSError:  # the other side is closed: the command has ended
                    break
                if not part:
                    break
                shown += part
            for question in [question for question in left if question.encode() in shown]:
                os.write(terminal, left.pop(question).encode() + b"\n")
        return process.wait(60), shown.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_a_dry_run_shows_prices_and_creates_nothing(place: Workplace) -> None:
    before = account(place)
    done = place.run("pyinfra", "inventory/two.py", "deploys/quick.py", "--dry")
    assert "$/month" in done.stderr and "24.00" in done.stderr, done.stderr
    assert account(place) == before


def test_who_says_no_creates_nothing(place: Workplace) -> None:
    before = account(place)
    status, shown = typed(
        place, {"Create this? [y/N]": "n"}, "pyinfra", "inventory/two.py", "deploys/quick.py"
    )
    assert status != 0 and "nothing was created" in shown and "Traceback" not in shown
    assert account(place) == before


def test_who_says_yes_gets_droplets_and_their_deploy_in_one_command(place: Workplace) -> None:
    # The second question is pyinfra's own: whether to make the changes.
    answers = {"Create this? [y/N]": "y", "Press enter to execute": ""}
    status, shown = typed(place, answers, "pyinfra", "inventory/two.py", "deploys/quick.py")
    assert status == 0, shown
    assert account(place)["droplets"] == ["one", "two"]
    assert place.ssh("two", "ls -d /srv/made").strip() == "/srv/made"
    assert place.deploy("inventory/two.py", "deploys/quick.py") == {"one": [], "two": []}
    assert account(place)["droplets"] == ["one", "two"]


def test_a_droplet_that_the_inventory_no_longer_names_is_reported_and_left(place: Workplace) -> None:
    place.write_inventory("two", {"one": ["nginx"]})
    done = place.run("pyinfra", "inventory/two.py", "deploys/quick.py", "-y")
    assert "Not in the inventory, left alone: two" in done.stderr
    assert account(place)["droplets"] == ["one", "two"]
    assert place.ssh("two", "hostname").strip() == "two"


def test_a_kept_lab_comes_back_with_its_droplets_behind_their_firewall(place: Workplace) -> None:
    place.ssh("one", "echo kept > /root/kept; sync")
    place.run("fleet", "lab", "down", "--name", place.lab, "--keep")
    place.run("fleet", "lab", "up", "--name", place.lab)
    eventually(lambda: place.ssh("one", "cat /root/kept", check=False) == "kept\n", "the disk is the old one")
    place.ssh("one", "systemd-run -q --collect python3 -m http.server 9999")
    inside = "curl -s -o /dev/null http://127.0.0.1:9999/ && echo open"
    eventually(lambda: place.ssh("one", inside, check=False) == "open\n", "something listens")
    address = place.ssh("one", "ip -4 -o address show dev eth0").split()[3].split("/")[0]
    with pytest.raises(OSError):
        socket.create_connection((address, 9999), timeout=2)
    place.deploy("inventory/two.py", "deploys/quick.py")


def test_all_mistakes_are_told_at_once_before_anything_connects(place: Workplace) -> None:
    path = place.directory / "inventory/wrong.py"
    text = (place.directory / "inventory/two.py").read_text()
    path.write_text(text.replace(".in_lab()", "").replace("~/.ssh/id_ed25519.pub", "/nowhere/key.pub"))
    role = place.directory / "roles/nginx.yml"
    before = role.read_text()
    role.write_text(before + "worker_conections: 3\nkeepalive_timeout: long\n")
    try:
        done = place.run("pyinfra", str(path), "deploys/quick.py", "--dry", check=False)
    finally:
        role.write_text(before)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert "/nowhere/key.pub" in said and "worker_conections" in said and "keepalive_timeout" in said, said
    assert "roles/nginx.yml:" in said


def test_destroying_wants_the_fleets_name(place: Workplace) -> None:
    status, shown = typed(place, {"fleet's name": "tow"}, "fleet", "destroy", "inventory/two.py")
    assert status == 1 and "nothing was destroyed" in shown
    assert account(place)["droplets"] == ["one", "two"]
    status, shown = typed(place, {"fleet's name": "two"}, "fleet", "destroy", "inventory/two.py")
    assert status == 0, shown
    left = account(place)
    assert left["droplets"] == [] and left["vpcs"] == [] and left["firewalls"] == []


def test_a_lab_leaves_nothing_behind(tmp_path: Path) -> None:
    with workplace(tmp_path) as place:
        (place.directory / "deploys/quick.py").write_text(QUICK)
        place.write_inventory("one", {"one": ["nginx"]})
        place.deploy("inventory/one.py", "deploys/quick.py")
        assert traces(place.lab)
    assert traces(place.lab) == []
    assert not Path("/var/lib/smallfleet/labs", place.lab).exists()
    assert not Path("/run/smallfleet", place.lab).exists()
