"""MongoDB's memory, archive and firewall rules, without a droplet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError
from pymongo.uri_parser import parse_uri

from smallfleet.errors import FleetError
from smallfleet.facts.system import Outdated
from smallfleet.model.roles import AppMongodb, AppRole, Files, MongodbRole
from smallfleet.operations import checked, mongodb, secrets
from smallfleet.programs import mongodb_users
from smallfleet.secrets import Secret
from smallfleet.webapp import mongodb_url

RULES = Path("templates/nftables/nftables.conf.j2")


@pytest.mark.parametrize(
    ("size", "memory"),
    [("s-1vcpu-512mb-10gb", 0.5), ("s-1vcpu-2gb", 2), ("s-2vcpu-4gb-amd", 4), ("m-2vcpu-16gb", 16)],
)
def test_a_size_says_its_memory(size: str, memory: float) -> None:
    assert mongodb.memory_of(size) == memory


def test_a_size_without_memory_is_the_owners_to_mend() -> None:
    with pytest.raises(FleetError, match="cache"):
        mongodb.memory_of("c-2")


@pytest.mark.parametrize(
    ("cache", "size", "alone", "gib"),
    [
        ("auto", "s-1vcpu-1gb", True, 0.25),
        ("auto", "s-1vcpu-2gb", True, 0.5),
        ("auto", "s-2vcpu-4gb", True, 1.5),
        ("auto", "s-2vcpu-4gb", False, 0.75),
        ("512M", "c-2", True, 0.5),
        ("1M", "s-1vcpu-1gb", True, 0.25),
    ],
)
def test_the_cache_fits_the_droplet(cache: str, size: str, alone: bool, gib: float) -> None:
    assert mongodb.cache_size(cache, size, alone) == gib


def test_the_archive_follows_image_and_version() -> None:
    role = MongodbRole(name="mongodb", kind="mongodb")
    debian, ubuntu = (mongodb.source(role, image) for image in ("debian-12-x64", "ubuntu-24-04-x64"))
    assert debian.key == "https://pgp.mongodb.com/server-8.0.asc"
    assert debian.line == (
        "deb [signed-by=/etc/apt/keyrings/mongodb-8.0.asc] "
        "https://repo.mongodb.org/apt/debian bookworm/mongodb-org/8.0 main"
    )
    assert ubuntu.line.endswith("/apt/ubuntu noble/mongodb-org/8.0 multiverse")
    with pytest.raises(FleetError, match="fedora"):
        mongodb.source(role, "fedora-40-x64")


def test_the_firewall_opens_mongodb_where_it_is_only() -> None:
    web = {"web": True, "edge": None, "balancer": None}
    without = checked.render(RULES, droplet="podcast", mongodb=None, **web)
    assert "27017" not in without and "policy drop" in without
    at = {"interface": "eth1", "sources": "10.0.0.0/24", "port": 27017}
    assert 'iifname "eth1" ip saddr 10.0.0.0/24 tcp dport 27017 accept' in checked.render(
        RULES, droplet="mongo", mongodb=at, **web
    )
    with pytest.raises(UndefinedError):
        checked.render(RULES, droplet="mongo")


def test_a_secret_is_hashed_by_what_it_holds() -> None:
    assert secrets.digest(Secret("a")) == secrets.digest("a") != secrets.digest("(secret)")


@pytest.mark.parametrize(
    ("output", "outdated"),
    [(["@100", "99", "100"], False), (["@100", "101"], True), (["", "101"], False), ([], False)],
)
def test_a_service_older_than_its_config_is_outdated(output: list[str], outdated: bool) -> None:
    assert Outdated().process(output) is outdated


def test_a_password_is_known_by_its_credential() -> None:
    # From RFC 7677's example: user "user", password "pencil".
    salt, iterations = "W22ZaJ0SNY7soEsUEjb6gQ==", 4096
    stored = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    credential = {"salt": salt, "iterationCount": iterations, "storedKey": stored}
    assert mongodb_users.is_password("pencil", credential)
    assert not mongodb_users.is_password("pencils", credential)


def test_an_app_is_told_all_members_and_loses_no_write() -> None:
    role = MongodbRole(name="mongodb", kind="mongodb", members=3)
    app = AppRole(
        name="podcast",
        kind="app",
        domain="podcast.example.com",
        on=("nginx",),
        needs=("mongodb",),
        files=Files(directory="/srv/podcast/files"),
        mongodb=AppMongodb(database="podcast"),
    )
    context = SimpleNamespace(
        fleet=SimpleNamespace(roles={"mongodb": role}),
        role=lambda name: role,
        secret=lambda name: Secret("p/w:d"),
        private_addresses_of=lambda name: ["10.0.0.2", "10.0.0.3", "10.0.0.4"],
    )
    found = parse_uri(mongodb_url(context, app))  # type: ignore[arg-type]
    assert found["nodelist"] == [("10.0.0.2", 27017), ("10.0.0.3", 27017), ("10.0.0.4", 27017)]
    assert (found["username"], found["password"], found["database"]) == ("podcast", "p/w:d", "podcast")
    options = {key: found["options"][key] for key in ("replicaSet", "w", "retryWrites", "retryReads")}
    assert options == {"replicaSet": "smallfleet", "w": "majority", "retryWrites": True, "retryReads": True}


def test_a_member_is_restarted_only_after_it_may_go() -> None:
    words = mongodb.restart(27017)
    assert words.index(" yield ") < words.index("systemctl stop mongod") < words.index(" begin-with-data ")
    assert words.rstrip().endswith(mongodb.in_set("ready"))
