"""Facts: what a droplet prints, as values."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from smallfleet.facts.system import CloudInit
from smallfleet.facts.tls import Certificates
from smallfleet.facts.units import UnitStates
from tests.unit.certificates import certificate


@pytest.mark.parametrize(
    ("printed", "status"),
    [
        (["status: running"], "running"),
        (["", "status: done"], "done"),
        (["status: not started"], "not started"),
        (["status: absent"], "absent"),
        ([], "absent"),
    ],
)
def test_cloud_inits_status(printed: list[str], status: str) -> None:
    assert CloudInit().process(printed) == status


def test_units_are_told_apart_in_one_answer() -> None:
    printed = [
        *("Id=nginx.service", "SubState=running", "UnitFileState=enabled", ""),
        *("Id=certbot.timer", "SubState=waiting", "UnitFileState=disabled", ""),
        *("Id=none.service", "SubState=dead", "UnitFileState="),
    ]
    assert UnitStates().process(printed) == {
        "nginx.service": {"running": True, "enabled": True},
        "certbot.timer": {"running": True, "enabled": False},
        "none.service": {"running": False, "enabled": False},
    }


def lines(*domains: str, days: int) -> list[str]:
    """The lines of a certificate for these domains that expires so many days from now."""
    made = certificate("a site", "some authority", days, domains)
    return made.public_bytes(Encoding.PEM).decode().splitlines()


def test_a_certificate_counts_while_it_is_valid() -> None:
    head = ("server: https://acme.example.com/directory", f"now: {time.time():.0f}")
    printed = [
        *("name: a", *head, *lines("a.example.com", "www.a.example.com", days=30)),
        *("name: gone", *head),
        *("name: old", *head, *lines("old.example.com", days=-1)),
        *("name: nameless", *head, *lines(days=30)),
        *("name: cut", *head, *lines("cut.example.com", days=30)[:4]),
        *("name: b", *head, *lines("b.example.com", days=1)),
    ]
    server = "https://acme.example.com/directory"
    assert Certificates().process(printed) == {
        "a": {"server": server, "domains": ["a.example.com", "www.a.example.com"]},
        "b": {"server": server, "domains": ["b.example.com"]},
    }
    assert Certificates().process([]) == {}
