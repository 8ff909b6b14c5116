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
            '[ -f "$conf" ] || continue; name=${conf##*/}; name=${name%.conf}; '
            # It prints the names and ends with 1 if the certificate has expired.
            f'names=$(openssl x509 -in "{LIVE}/$name/cert.pem" -noout -checkend 0 '
            "-ext subjectAltName 2>/dev/null) || continue; "
            'echo "$name|$(sed -n "s/^server *= *//p" "$conf")|'
            '$(echo "$names" | grep DNS: | tr -d " \\n")"; done'
        )

    def process(self, output: list[str]) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {}
        for line in output:
            name, server, names = line.split("|", 2)
            domains = [word.removeprefix("DNS:") for word in names.split(",") if word.startswith("DNS:")]
            found[name] = {"server": server.strip(), "domains": domains}
        return found
