"""Each app of the droplet serves what its repository's ref names, with its own environment.

Of several droplets with one app the first in the inventory goes first; the rest follow one by one and stop
at the first that is not healthy. What was rolled back stays so until the ref moves on, or --data force=true.
"""

import json

from pyinfra import host

from smallfleet import programs
from smallfleet.batches import Batches
from smallfleet.context import Context
from smallfleet.operations import release, secrets, several
from smallfleet.webapp import environment_file, release_spec
from smallfleet.who import who

context = Context.of(host)
apps = [app for app in context.apps if app.app]

if apps:
    several.files(
        name="Web app: the release program",
        files={"/usr/local/sbin/smallfleet-release": programs.text("release")},
        mode="755",
    )
    for app in host.loop(apps):
        # The first to be written there: it makes the directory.
        several.files(
            name="Web app: what to release",
            files={f"/etc/smallfleet/apps/{app.name}.json": json.dumps(release_spec(app), indent=1) + "\n"},
        )
        secrets.file(
            name="Web app: its environment",
            dest=f"/etc/smallfleet/apps/{app.name}.env",
            content=environment_file(context, app),
            user="root",
            group="root",
            mode="400",
        )

    batches = Batches.of(context)
    for turn in host.loop(range(batches.turns)):
        # Every droplet has every turn, so that no turn begins before the one before it is over.
        for app in host.loop(apps):
            mine = turn == batches.turn_of(app.name, host.name)
            released = release.deployed(
                name="Web app: release",
                app=app.name if mine else None,
                author=who(),
                force=bool(host.data.get("force")),
                _if=batches.guard(host, app.name) if mine and turn else None,
            )
            if mine:
                batches.expect(host, app.name, released)
