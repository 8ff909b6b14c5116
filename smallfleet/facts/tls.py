"""The certificates that certbot keeps."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase

KEPT = "/etc/letsencrypt"
LIVE = f"{KEPT}/live"


class Certificate(TypedDict):
    server: str  # the ACME directory it came from
    domains: list[str]


class Certificates(FactBase):
    """certbot's certificates that are valid now, by name."""

    default = dict

    def command(self) -> str:
        return (
            "for conf in /etc/letsencrypt/renewal/*.conf; do "
            '[ -f "$conf" ] || continue; name=${conf##*/}; echo "name=${name%.conf}"; '
            'while read -r key _ value; do [ "$key" = server ] && echo "server=$value"; done < "$conf"; '
            # It prints the names and ends with 1 if the certificate has expired.
            f'openssl x509 -in "{LIVE}/${{name%.conf}}/cert.pem" -noout -checkend 0 '
            "-ext subjectAltName 2>/dev/null && echo valid; done; true"
        )

    def process(self, output: list[str]) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {}
        name, said = "", Certificate(server="", domains=[])
        for line in map(str.strip, output):
            key, _, value = line.partition("=")
            if key == "name":
                name, said = value, Certificate(server="", domains=[])
            elif key == "server":
                said["server"] = value
            elif "DNS:" in line:
                said["domains"] = [word.removeprefix("DNS:") for word in line.replace(" ", "").split(",")]
            elif line == "valid":
                found[name] = said
        return found
