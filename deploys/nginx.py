"""NGINX in front of every site of the droplet: nginx.conf and a vhost per app, tried before they are used."""

from pathlib import Path

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.operations import files

from smallfleet import programs
from smallfleet.context import Context
from smallfleet.facts.edge import AWAY, LEAVING
from smallfleet.model.balancing import ALIVE, PORTS
from smallfleet.model.roles import AppRole
from smallfleet.operations import nginx, packages, several, units
from smallfleet.rendering import render

TEMPLATES = Path("templates/nginx")


def answer_seconds(app: AppRole) -> int:
    """How long NGINX waits for the app: longer than uWSGI does, which says in its log what it gave up."""
    return (app.uwsgi.harakiri if app.uwsgi else 30) + 5


context = Context.of(host)

if context.has("nginx"):
    packages.installed(name="Install NGINX", packages=["nginx", "openssl"])

    # Maintenance: what NGINX looks at.
    several.directories(
        name="NGINX: the directories of ACME challenges and of maintenance",
        paths=[
            "/var/www/acme",
            *(f"/var/lib/smallfleet/maintenance{path}" for path in ("", "/on", "/long", "/pages")),
        ],
    )
    files.directory(
        name="NGINX: the directory of cached pages", path="/var/cache/nginx", user="www-data", mode="755"
    )
    files.link(
        name="NGINX: no site of the package's own", path="/etc/nginx/sites-enabled/default", present=False
    )

    nginx.placeholders(
        name="NGINX: a certificate for each domain until there is a real one",
        domains=[app.domain for app in context.apps + context.fronted],
    )

    # `http2 on` came with 1.25.1; before, it is a word of `listen`. ssl_reject_handshake came with 1.19.4.
    new_http2 = context.fleet.image.startswith("debian-13")
    shared = {
        "nginx": context.role("nginx"),
        "ipv6": host.get_fact(File, path="/proc/net/if_inet6") not in (None, False),
        "http2_on": new_http2,
        "http2_listen": "" if new_http2 else " http2",
        "reject_handshake": not context.fleet.image.startswith("ubuntu-22"),
    }
    alive = next((app for app in context.balanced if app.app), None)
    nginx.configured(
        name="NGINX: nginx.conf and a vhost for each app",
        files={
            "nginx.conf": render(
                TEMPLATES / "nginx.conf.j2",
                **shared,
                alive=alive,
                first=alive and context.fleet.droplets_of(alive.name)[0] == context.droplet,
                alive_path=ALIVE,
                ports=PORTS,
                away=LEAVING,
            )
        }
        | {
            f"sites/{app.name}.conf": render(
                TEMPLATES / "site.conf.j2",
                **shared,
                site=app,
                front=context.front_of(app),
                balanced=context.fleet.vpc if app in context.balanced else None,
                ports=PORTS,
                port=context.fleet.edge.port if context.fleet.edge else None,
                peers=context.peers_of(app.name),
                timeout=answer_seconds(app),
            )
            for app in context.apps
        }
        | {
            f"sites/{app.name}.conf": render(
                TEMPLATES / "edge.conf.j2",
                **shared,
                site=app,
                droplets=context.backends_of(app),
                away=AWAY,
                timeout=answer_seconds(app) + 5,
            )
            for app in context.fronted
        },
        sites=[nginx.site(app) for app in context.apps]
        + [nginx.fronted_site(app) for app in context.fronted],
    )

    units.kept(name="NGINX runs, also after a reboot", unit="nginx.service", known=context.units)

    # Maintenance: what ends it by itself.
    several.files(
        name="Maintenance: its program",
        files={"/usr/local/sbin/smallfleet-maintenance": programs.path("maintenance").read_text()},
        mode="755",
    )
    units.units(
        name="Maintenance: its units",
        units={
            unit: render(Path(f"templates/systemd/{unit}.j2"))
            for unit in ("smallfleet-maintenance.service", "smallfleet-maintenance.path")
        },
    )
    units.kept(name="Maintenance ends by itself", unit="smallfleet-maintenance.path", known=context.units)
