"""A certificate for every site of the droplet, renewed by certbot's timer."""

from pyinfra import host
from pyinfra.operations import apt, files, systemd

from smallfleet.context import Context
from smallfleet.operations import tls

context = Context.of(host)

if context.has("nginx"):
    server = context.role("nginx").tls

    apt.packages(name="TLS: install certbot", packages=["certbot", "openssl"], cache_time=86400, update=True)
    files.directory(
        name="TLS: the directory of hooks", path="/etc/letsencrypt/renewal-hooks/deploy", mode="755"
    )
    files.template(
        name="TLS: NGINX takes each renewed certificate",
        src="templates/nginx/renewed.sh.j2",
        dest=tls.HOOK,
        mode="755",
        apps=context.apps + context.fronted,
    )
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
    systemd.service(name="TLS: certificates are renewed", service="certbot.timer", running=True, enabled=True)
