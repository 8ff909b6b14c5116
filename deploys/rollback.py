"""Back to the earlier release: pyinfra inventory/prod.py deploys/rollback.py --limit podcast

--data role=podcast names the app where a droplet has several; --data release=ID names the release.
"""

from pyinfra import host

from smallfleet.batches import Batches
from smallfleet.context import Context
from smallfleet.operations import release
from smallfleet.who import who

NEEDS_ACCOUNT = False  # it creates nothing: it goes back while the cloud's API is away, too

context = Context.of(host)
role = host.data.get("role")
wanted = host.data.get("release")
apps = [app for app in context.apps if app.app and role in (None, app.name)]

if apps:
    batches = Batches.of(context)
    for app in host.loop(apps):
        went_back = release.rolled_back(
            name="Rollback: the earlier release",
            app=app.name,
            author=who(),
            release=str(wanted) if wanted else None,
        )
        batches.expect(host, app.name, went_back, "went back")
