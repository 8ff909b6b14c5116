"""The main job on eight real droplets: from nothing to seven sites, and what must hold afterwards."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest
import yaml

from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import SITES, Workplace, all_answer, eventually

INVENTORY = "inventory/lab.py"
DROPLETS = SITES | {"mongo"}


def public_addresses(fleet: Workplace) -> dict[str, str]:
    return {answer["role"]: answer["address"] for answer in fleet.sites(INVENTORY)}


def test_every_site_answers_over_https_with_a_verified_certificate(fleet: Workplace) -> None:
    answers = fleet.sites(INVENTORY)
    assert {answer["role"]: answer["status"] for answer in answers} == dict.fromkeys(SITES, 200), json.dumps(
        answers, indent=1
    )
    # The certificate is what curl accepts with the lab's CA alone, and nothing else would be accepted.
    for answer in answers:
        command = answer["curl"].split()
        assert subprocess.run([*command, "-sSf", "-o", "/dev/null"], check=False).returncode == 0
        without_ca = [
            word for index, word in enumerate(command) if "--cacert" not in (word, command[index - 1])
        ]
        assert subprocess.run([*without_ca, "-sf", "-o", "/dev/null"], check=False).returncode == 60


def test_what_a_site_shows_comes_out_of_mongodb(fleet: Workplace) -> None:
    ask = "curl -s -k -o /dev/null -w '%{http_code}' --resolve api.example.com:443:127.0.0.1"
    health = f"{ask} https://api.example.com/health"
    assert fleet.ssh("api", health) == "200"
    try:
        fleet.ssh("mongo", "systemctl stop mongod")
        assert fleet.ssh("api", health).startswith("5")
    finally:
        fleet.ssh("mongo", "systemctl start mongod")
    eventually(lambda: all_answer(fleet, INVENTORY), "all sites answer again once MongoDB is back")


def test_a_second_run_changes_nothing(fleet: Workplace) -> None:
    assert fleet.deploy(INVENTORY, "deploys/site.py") == {droplet: [] for droplet in DROPLETS}


def test_one_value_changes_one_droplet_only(fleet: Workplace) -> None:
    file = fleet.directory / "roles/podcast.yml"
    before = file.read_text()
    role = yaml.safe_load(before)
    role.setdefault("nginx", {}).setdefault("rate", {})["burst"] = 77
    file.write_text(yaml.safe_dump(role, sort_keys=False))
    try:
        changes = fleet.deploy(INVENTORY, "deploys/site.py")
    finally:
        file.write_text(before)
    assert [droplet for droplet in changes if changes[droplet]] == ["podcast"]
    assert all("nginx" in name.lower() or "vhost" in name.lower() for name in changes["podcast"]), changes
    fleet.deploy(INVENTORY, "deploys/nginx.py", "--limit", "podcast")


def test_the_connector_plans_and_does_what_plain_ssh_does(
    fleet: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, everywhere = (fleet.directory / "roles" / name for name in ("podcast.yml", "base.yml"))
    before = {file: file.read_text() for file in (site, everywhere)}
    edited = {file: yaml.safe_load(text) for file, text in before.items()}
    edited[site].setdefault("nginx", {}).setdefault("rate", {})["burst"] = 78
    edited[everywhere]["journald"]["max_use"] = "201M"  # restarts a service on all droplets
    after = {file: yaml.safe_dump(role, sort_keys=False) for file, role in edited.items()}
    first: list[object] = []
    for how in ("fast", "plain"):  # the fast way has learned from the runs before
        monkeypatch.setenv("SMALLFLEET_CONNECTOR", how)
        said: list[object] = []
        for texts in (after, before):
            for file, text in texts.items():
                file.write_text(text)
            printed = fleet.run("pyinfra", "--json", INVENTORY, "deploys/site.py", "--dry").stdout
            plan = json.loads(printed[printed.index("{") :])["plan"]
            assert any(one["hosts_with_change"] for one in plan)
            said.append([(one["name"], sorted(one["hosts_with_change"])) for one in plan])
            said.append(fleet.deploy(INVENTORY, "deploys/site.py"))
        assert said == (first := first or said)


def test_the_labs_git_server_turns_nobody_away(fleet: Workplace) -> None:
    # As the droplets of a large fleet ask, all at once; `git daemon` by itself lets 32 in.
    listing = f"git ls-remote -- git://{Lab.load(fleet.lab).gateway}/podcast.git main >/dev/null"
    asking = f'for one in $(seq 64); do {listing} & asked="$asked $!"; done'
    assert fleet.ssh("podcast", f"{asking}; for one in $asked; do wait $one || echo lost; done") == ""


def test_mongodb_is_closed_from_outside(fleet: Workplace) -> None:
    addresses = set(public_addresses(fleet).values())
    mongo = fleet.ssh("mongo", "ip -4 -o address show dev eth0").split()[3].split("/")[0]
    for address in addresses | {mongo}:
        with pytest.raises(OSError):
            socket.create_connection((address, 27017), timeout=2)
        socket.create_connection((address, 22), timeout=5).close()  # the address is right: SSH is open


def test_a_user_of_mongodb_reaches_its_own_database_only(fleet: Workplace) -> None:
    program = """
import os, sys
from urllib.parse import urlsplit, urlunsplit
from pymongo import MongoClient
from pymongo.errors import OperationFailure
lines = open("/etc/smallfleet/apps/podcast.env").read().splitlines()
url = next(line.split("=", 1)[1].strip('"') for line in lines if line.startswith("MONGODB_URL="))
client = MongoClient(url)
assert client.get_default_database().list_collection_names(), "its own database can be read"
try:
    client["courses"].list_collection_names(); sys.exit("read another's database")
except OperationFailure as error:
    assert error.code == 13, error
parts = urlsplit(url)
wrong = urlunsplit(parts._replace(netloc="podcast:wrong@" + parts.hostname + ":" + str(parts.port or 27017)))
try:
    MongoClient(wrong).get_default_database().list_collection_names(); sys.exit("a wrong password was let in")
except OperationFailure as error:
    assert error.code == 18, error
print("closed")
"""
    fleet.ssh("podcast", f"cat > /root/check.py <<'PY'\n{program}\nPY")
    python = "/srv/podcast/current/.venv/bin/python"
    assert fleet.ssh("podcast", f"{python} /root/check.py; rm -f /root/check.py").strip() == "closed"


def test_all_sites_come_back_when_every_droplet_reboots_at_once(fleet: Workplace) -> None:
    boots = {droplet: fleet.ssh(droplet, "cat /proc/sys/kernel/random/boot_id") for droplet in DROPLETS}
    for droplet in DROPLETS:
        fleet.ssh(droplet, "systemctl --no-block reboot", check=False)
    for droplet in DROPLETS:
        eventually(
            lambda droplet=droplet: (
                fleet.ssh(droplet, "cat /proc/sys/kernel/random/boot_id", check=False)
                not in ("", boots[droplet])
            ),
            f"{droplet} has booted anew",
        )
    eventually(lambda: all_answer(fleet, INVENTORY), "all seven sites answer after the reboot")
