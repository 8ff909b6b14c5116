"""DNS names of sites that an edge takes over, or gives back: they move when the site answers there.

All other names are set when droplets are created. pyinfra inventory/prod.py deploys/names.py
"""

from pyinfra import host

from smallfleet.context import Context
from smallfleet.operations import names

context = Context.of(host)
sites = context.fronted + context.apps

if context.has("nginx"):
    names.lead_here(
        name="Names: those of its sites lead to this droplet",
        names=context.moves,
        sites=[(app.domain, app.app.health) for app in sites if app.app],
    )
