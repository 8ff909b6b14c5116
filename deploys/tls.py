"""A certificate for every site of the droplet, renewed by certbot's timer."""

from pathlib import Path

from pyinfra import host

from smallfleet.context import Context
from smallfleet.operations import packages, several, tls, units
from smallfleet.rendering import render

context = Context.of(host)

if context.has("nginx"):
    server = context.role("nginx").tls

    packages.installed(name="TLS: install certbot", packages=["certbot", "openssl"])
    hook = render(Path("templates/nginx/renewed.sh.j2"), apps=context.apps + context.fronted)
    several.files(name="TLS: NGINX takes each renewed certificate", files={tls.HOOK: hook}, mode="755")
    # A site behind an edge has its certificate there; one that visitors may come to still keeps what it has.
    own = [app for app in context.apps if not context.front_of(app)] + context.fronted
    given_away = [app for app in context.apps if context.front_of(app) and not context.named(app)]
    for app in host.loop(own):
        tls.certificate(
            name="TLS: a certificate for each site",
            lineage=app.name,
            domains=[app.domain, *app.aliases],
            server=server.directory,
            email=server.email,
        )
    for app in host.loop(given_away):
        tls.no_certificate(
            name="TLS: no certificate for a site whose edge has it", lineage=app.name, domain=app.domain
        )
    units.kept(name="TLS: certificates are renewed", unit="certbot.timer", known=context.units)
