"""Each app of the droplet serves what its repository's ref names, with its own environment."""

import json
from io import StringIO

from pyinfra import host
from pyinfra.operations import files

from smallfleet import programs
from smallfleet.context import Context
from smallfleet.operations import release, secrets
from smallfleet.webapp import environment_file, release_spec

context = Context.of(host)
apps = [app for app in context.apps if app.app]

if apps:
    files.directory(name="Web app: the directory of apps", path="/etc/smallfleet/apps", mode="755")
    files.put(
        name="Web app: the release program",
        src=str(programs.path("release")),
        dest="/usr/local/sbin/smallfleet-release",
        mode="755",
    )
    for app in host.loop(apps):
        secrets.file(
            name="Web app: its environment",
            dest=f"/etc/smallfleet/apps/{app.name}.env",
            content=environment_file(context, app),
            user="root",
            group="root",
            mode="400",
        )
        files.put(
            name="Web app: what to release",
            src=StringIO(json.dumps(release_spec(app), indent=1) + "\n"),
            dest=f"/etc/smallfleet/apps/{app.name}.json",
            mode="644",
        )
        release.deployed(name="Web app: release", app=app.name)
