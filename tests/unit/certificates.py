"""Certificates of an authority that nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID


def certificate(subject: str, issuer: str, days: int, domains: Sequence[str] = ()) -> x509.Certificate:
    """For `domains`, by common names of its subject and issuer; it expires so many days from now."""
    key, end = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) + timedelta(days=days)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (issuer, subject)]
    made = x509.CertificateBuilder(*names, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(end - timedelta(days=90)).not_valid_after(end)
    if domains:
        names_of = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
        made = made.add_extension(names_of, critical=False)
    return made.sign(key, SHA256())
