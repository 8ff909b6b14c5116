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
        apps=context.apps,
    )
    for app in host.loop(context.apps):
        tls.certificate(
            name="TLS: a certificate for each site",
            lineage=app.name,
            domains=[app.domain, *app.aliases],
            server=server.directory,
            email=server.email,
        )
    systemd.service(name="TLS: certificates are renewed", service="certbot.timer", running=True, enabled=True)
