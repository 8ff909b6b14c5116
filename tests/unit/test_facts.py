"""Facts: what a droplet prints, as values."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

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


def certificate(*domains: str, days: int) -> list[str]:
    """The lines of a certificate for these names that is valid for so many days from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=90)).not_valid_after(now + timedelta(days=days))
    if domains:
        names = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
        built = built.add_extension(names, critical=False)
    return built.sign(key, SHA256()).public_bytes(Encoding.PEM).decode().splitlines()


def test_a_certificate_counts_while_it_is_valid() -> None:
    head = ("server=https://acme.example.com/directory", f"now={time.time():.0f}")
    printed = [
        *("name=a", *head, *certificate("a.example.com", "www.a.example.com", days=30)),
        *("name=gone", *head),
        *("name=old", *head, *certificate("old.example.com", days=-1)),
        *("name=nameless", *head, *certificate(days=30)),
        *("name=cut", *head, *certificate("cut.example.com", days=30)[:4]),
        *("name=b", *head, *certificate("b.example.com", days=1)),
    ]
    server = "https://acme.example.com/directory"
    assert Certificates().process(printed) == {
        "a": {"server": server, "domains": ["a.example.com", "www.a.example.com"]},
        "b": {"server": server, "domains": ["b.example.com"]},
    }
    assert Certificates().process([]) == {}
