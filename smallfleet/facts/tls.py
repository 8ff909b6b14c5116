"""The certificates that certbot keeps."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase

LIVE = "/etc/letsencrypt/live"


class Certificate(TypedDict):
    server: str  # the ACME directory it came from
    domains: list[str]


class Certificates(FactBase):
    """certbot's certificates that are valid now, by name."""

    default = dict

    def command(self) -> str:
        return (
            "for conf in /etc/letsencrypt/renewal/*.conf; do "
            '[ -f "$conf" ] || continue; name=$(basename "$conf" .conf); cert=' + LIVE + "/$name/cert.pem; "
            'openssl x509 -in "$cert" -noout -checkend 0 >/dev/null 2>&1 || continue; '
            'echo "$name|$(sed -n "s/^server *= *//p" "$conf")|'
            '$(openssl x509 -in "$cert" -noout -ext subjectAltName | tail -n +2 | tr -d " \\n")"; done'
        )

    def process(self, output: list[str]) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {}
        for line in output:
            name, server, names = line.split("|", 2)
            domains = [word.removeprefix("DNS:") for word in names.split(",") if word.startswith("DNS:")]
            found[name] = {"server": server.strip(), "domains": domains}
        return found
