"""The lab's ACME server: Pebble, Let's Encrypt's own test server, on the gateway."""

from __future__ import annotations

import datetime
import json
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smallfleet.lab.errors import LabError
from smallfleet.lab.service import Service

API_CA = "acme-api-ca.pem"
PORT, MANAGEMENT_PORT = 14000, 15000


class LabAcme:
    """Pebble in `namespace` on `gateway`.

    It makes new roots at each start; `bundle` gathers all, so that certificates of a kept lab still verify.
    """

    def __init__(self, namespace: str, gateway: str, directory: Path, bundle: Path, logs: Path) -> None:
        self.namespace, self.gateway, self.directory, self.bundle = namespace, gateway, directory, bundle
        self.config = directory / "acme" / "pebble.json"
        command = ["pebble", "-config", str(self.config), "-dnsserver", f"{gateway}:53"]
        # Without these Pebble waits at random and refuses some nonces, to exercise its clients.
        fast = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        self.service = Service("the lab's ACME server (pebble)", namespace, command, logs / "acme.log", fast)

    def start(self) -> None:
        ensure_api_ca(self.directory, self.gateway)
        pebble = {
            "listenAddress": f"{self.gateway}:{PORT}",
            "managementListenAddress": f"{self.gateway}:{MANAGEMENT_PORT}",
            "certificate": str(self.config.parent / "api.pem"),
            "privateKey": str(self.config.parent / "api.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        self.config.write_text(json.dumps({"pebble": pebble}, indent=2))
        self.service.start(lambda: bool(self._fetch(f"https://{self.gateway}:{PORT}/dir")))
        root = self._fetch(f"https://{self.gateway}:{MANAGEMENT_PORT}/roots/0")
        if "BEGIN CERTIFICATE" not in root:
            raise LabError(f"the lab's ACME server gave no root certificate: {self.service.last_words()}")
        gathered = self.bundle.read_text() if self.bundle.exists() else ""
        if root.strip() not in gathered:
            self.bundle.write_text(gathered + root.strip() + "\n")

    def stop(self) -> None:
        self.service.stop()

    def _fetch(self, url: str) -> str:
        """What a URL of the lab answers from within its namespace; empty when it does not."""
        command = ["curl", "-sf", "--max-time", "5", "--cacert", str(self.directory / API_CA), url]
        return subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command], capture_output=True, text=True, check=False
        ).stdout


def ensure_api_ca(directory: Path, gateway: str) -> Path:
    """The CA that signs the ACME server's own TLS certificate, made once a lab, and that certificate.

    Returns `directory/acme-api-ca.pem`, which droplets get into their trust store. The CA's key is not kept.
    """
    target, place = directory / API_CA, directory / "acme"
    if target.exists() and (place / "api.pem").exists():
        return target
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    ca_key, api_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smallfleet lab, CA of the ACME server")])
    api_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smallfleet lab, ACME server")])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        builder(ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ip_address(gateway)), x509.DNSName("localhost")]
    api = (
        builder(api_name, api_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key_file = place / "api.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        api_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (place / "api.pem").write_bytes(api.public_bytes(serialization.Encoding.PEM))
    target.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    ssl.create_default_context(cafile=str(target))  # fails now rather than in a droplet
    return target
