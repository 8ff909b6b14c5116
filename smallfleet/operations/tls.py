"""Certificates from an ACME server, by certbot through the running NGINX."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from urllib.parse import urlsplit

from pyinfra import host
from pyinfra.api import StringCommand, operation

from smallfleet.facts.nginx import TLS, NginxCertificates
from smallfleet.facts.tls import KEPT, LIVE, Certificates
from smallfleet.operations.nginx import PLACEHOLDER

HOOK = "/etc/letsencrypt/renewal-hooks/deploy/smallfleet-nginx"
WEBROOT = "/var/www/acme"

# What is left of a lineage (a directory that was deleted, a restore of half of it) certbot either refuses or
# goes past, to NAME-0001. It is put aside for a new one, and back where there is none.
ISSUE = """
set -eu
for name in {domains}; do
    if ! getent ahosts "$name" >/dev/null; then
        echo "$name does not resolve, so it gets no certificate: make its DNS record point here." >&2
        exit 1
    fi
done
output=$(mktemp)
aside={kept}/.aside-{lineage}
parts="renewal/{lineage}.conf live/{lineage} archive/{lineage}"
whole() {{ [ -s {kept}/renewal/{lineage}.conf ] && [ -s {kept}/live/{lineage}/fullchain.pem ]; }}
put_back() {{
    for part in $parts; do
        [ -e "$aside/$part" ] || continue
        rm -rf "{kept}/$part"
        mv -T "$aside/$part" "{kept}/$part"
    done
}}
trap 'rm -f "$output"; whole || put_back; rm -rf "$aside"' EXIT
whole || put_back
if ! whole; then
    for part in $parts; do
        [ -e "{kept}/$part" ] || continue
        (umask 077; mkdir -p "$aside/${{part%/*}}")
        mv -T "{kept}/$part" "$aside/$part"
    done
fi
ask() {{ {certbot} >"$output" 2>&1; }}
again() {{
    # The server has forgotten our account (certbot 2.1 hides that behind an AttributeError): make a new one.
    if grep -Eq "accountDoesNotExist|can't set attribute|has no setter" "$output"; then
        rm -rf {account}
        ask
    # It could not reach us, or our name: once more. Let's Encrypt minds the fifth failure in an hour.
    elif grep -Eq "^ *Type: +(connection|dns)$" "$output"; then
        sleep 5
        ask
    else
        false
    fi
}}
ask || again || {{ tail -n 20 "$output" >&2; exit 1; }}
RENEWED_LINEAGE={kept}/live/{lineage} {hook}
"""


def account_directory(server: str) -> str:
    """Where certbot keeps its accounts with a server."""
    parts = urlsplit(server)
    return f"/etc/letsencrypt/accounts/{parts.netloc}{parts.path}"


def certbot_command(name: str, domains: list[str], server: str, email: str | None) -> str:
    words = [
        "certbot",
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--webroot",
        "--webroot-path",
        WEBROOT,
    ]
    words += ["--server", server, "--cert-name", name, "--force-renewal", "--renew-with-new-domains"]
    words += ["--email", email] if email else ["--register-unsafely-without-email"]
    for domain in domains:
        words += ["--domain", domain]
    return shlex.join(words)


@operation()
def certificate(
    lineage: str, domains: list[str], server: str, email: str | None = None
) -> Generator[StringCommand, None, None]:
    """Have a valid certificate of this server for exactly these domains, and NGINX use it. `lineage` is
    certbot's name for it; the first domain is the vhost's.

    certbot's timer renews it. A server that could not reach the droplet is asked once more. Where a domain
    does not resolve that is said, else certbot's last lines.
    """
    directory = f"{LIVE}/{lineage}"
    there = host.get_fact(Certificates).get(lineage)
    if there is None or there["server"] != server or set(there["domains"]) != set(domains):
        script = ISSUE.format(
            domains=shlex.join(domains),
            certbot=certbot_command(lineage, domains, server, email),
            account=shlex.quote(account_directory(server)),
            lineage=lineage,
            kept=KEPT,
            hook=HOOK,
        )
        yield StringCommand(f"sh -c {shlex.quote(script)}")
    elif host.get_fact(NginxCertificates).get(domains[0]) != f"{directory}/fullchain.pem":
        yield StringCommand(f"RENEWED_LINEAGE={shlex.quote(directory)} {HOOK}")
    else:
        host.noop(f"{lineage} has its certificate")


@operation()
def no_certificate(lineage: str, domain: str) -> Generator[StringCommand, None, None]:
    """Have no certificate that certbot would try to renew: an edge has it now, and challenges go there.

    NGINX takes the placeholder again, which health checks on the droplet itself are content with.
    """
    led = host.get_fact(NginxCertificates).get(domain) == f"{LIVE}/{lineage}/fullchain.pem"
    if lineage not in host.get_fact(Certificates) and not led:
        host.noop(f"{lineage} has no certificate here")
        return
    there = f"{TLS}/{domain}"
    links = [f"ln -sfn {PLACEHOLDER}/{file} {there}/{file}" for file in ("fullchain.pem", "privkey.pem")]
    forget = f"{{ certbot delete -q --non-interactive --cert-name {shlex.quote(lineage)} || true; }}"
    yield StringCommand(" && ".join([*links, "nginx -t -q", "systemctl reload nginx", forget]))
