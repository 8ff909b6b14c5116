"""Maintenance of sites by hand; `fleet maintenance on|off` runs it.

pyinfra inventory/prod.py deploys/maintenance.py --data maintenance=on --data seconds=1800 --data message="…"
                                                 --data maintenance=off
    --data sites=podcast,api     these; all, if left out
    --data now=true              end it even if an app is not healthy
"""

from pyinfra import host

from smallfleet.context import Context
from smallfleet.errors import FleetError
from smallfleet.operations import maintenance

wanted = [word for word in str(host.data.get("sites") or "").split(",") if word]
here = [app.name for app in Context.of(host).apps if app.app and (not wanted or app.name in wanted)]
verb = host.data.get("maintenance")

if verb in (True, "on"):
    maintenance.on(
        name="Into maintenance",
        sites=here,
        seconds=float(host.data.get("seconds") or 1800),
        message=str(host.data.get("message") or "") or None,
    )
elif verb in (False, "off"):
    maintenance.off(name="Out of maintenance", sites=here, when_healthy=not host.data.get("now"), within=60)
else:
    raise FleetError("say which: --data maintenance=on, or --data maintenance=off")
