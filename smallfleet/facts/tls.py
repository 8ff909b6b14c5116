"""The certificates that certbot keeps."""

from __future__ import annotations

from itertools import pairwise
from typing import TypedDict

from pyinfra.api import FactBase

KEPT = "/etc/letsencrypt"
LIVE = f"{KEPT}/live"
KEYS = ("name: ", "server: ", "now: ")  # no line of base64 has a colon


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
            '[ -f "$conf" ] || continue; name=${conf##*/}; echo "name: ${name%.conf}"; '
            'while read -r key _ value; do [ "$key" = server ] && echo "server: $value"; done < "$conf"; '
            f'echo "now: $(date +%s)"; cat "{LIVE}/${{name%.conf}}/cert.pem" 2>/dev/null; done; true'
        )

    def process(self, output: list[str]) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {}
        starts = [number for number, line in enumerate(output) if line.startswith("name: ")]
        for start, end in pairwise([*starts, len(output)]):
            said = dict(line.split(": ", 1) for line in output[start:end] if line.startswith(KEYS))
            pem = "\n".join(line for line in output[start:end] if not line.startswith(KEYS))
            domains = _domains(pem, int(said["now"]))
            if domains is not None:
                found[said["name"]] = Certificate(server=said.get("server", ""), domains=domains)
        return found


def _domains(pem: str, now: int) -> list[str] | None:
    """The names in a certificate; None if it is none that is valid `now` (seconds since 1970)."""
    from cryptography import x509  # not for each run

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    if certificate.not_valid_after_utc.timestamp() <= now:
        return None
    return names.get_values_for_type(x509.DNSName)
