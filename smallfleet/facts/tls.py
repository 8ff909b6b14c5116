"""The certificates that certbot keeps."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase

KEPT = "/etc/letsencrypt"
LIVE = f"{KEPT}/live"
BEGIN = "-----BEGIN CERTIFICATE-----"


class Certificate(TypedDict):
    server: str  # the ACME directory it came from
    domains: list[str]


class Certificates(FactBase):
    """certbot's certificates that are valid now, by name."""

    default = dict

    def command(self) -> str:
        # The certificate itself: openssl takes ten times as long to say what is in it as all else here does.
        return (
            "for conf in /etc/letsencrypt/renewal/*.conf; do "
            '[ -f "$conf" ] || continue; name=${conf##*/}; echo "name=${name%.conf}"; '
            'while read -r key _ value; do [ "$key" = server ] && echo "server=$value"; done < "$conf"; '
            f'echo "now=$(date +%s)"; cat "{LIVE}/${{name%.conf}}/cert.pem" 2>/dev/null; done; true'
        )

    def process(self, output: list[str]) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {}
        parts = "\n".join(output).split("name=")[1:]
        for part in parts:
            name, *lines = part.split("\n")
            said = dict(line.split("=", 1) for line in lines if line.startswith(("server=", "now=")))
            domains = _domains("\n".join(lines[lines.index(BEGIN) :]) if BEGIN in lines else "", said["now"])
            if domains is not None:
                found[name] = Certificate(server=said.get("server", ""), domains=domains)
        return found


def _domains(pem: str, now: str) -> list[str] | None:
    """The names in a certificate; None if it is none that is valid `now` (seconds since 1970)."""
    from cryptography import x509  # not for each run

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    if certificate.not_valid_after_utc.timestamp() <= int(now):
        return None
    return names.get_values_for_type(x509.DNSName)
