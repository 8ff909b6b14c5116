"""Facts: what a droplet prints, as values."""

from __future__ import annotations

import pytest

from smallfleet.facts.system import CloudInit
from smallfleet.facts.tls import Certificates
from smallfleet.facts.units import UnitStates


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


def test_a_certificate_counts_while_it_is_valid() -> None:
    printed = [
        *("name=a", "server=https://acme.example.com/directory", "Certificate will not expire"),
        *("X509v3 Subject Alternative Name: ", "    DNS:a.example.com, DNS:www.a.example.com", "valid"),
        *("name=gone", "server=https://acme.example.com/directory"),
        *("name=old", "server=https://acme.example.com/directory", "Certificate will expire"),
        *("X509v3 Subject Alternative Name: ", "    DNS:old.example.com"),
    ]
    assert Certificates().process(printed) == {
        "a": {
            "server": "https://acme.example.com/directory",
            "domains": ["a.example.com", "www.a.example.com"],
        }
    }
