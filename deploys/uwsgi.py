"""uWSGI for every app of the droplet: its user, its directories, its configuration and its units."""

from pathlib import Path

from pyinfra import host

from smallfleet.context import Context
from smallfleet.model.roles import AppUwsgi
from smallfleet.operations import accounts, checked, packages, several, units, uv

TEMPLATES = Path("templates/systemd")

context = Context.of(host)
apps = context.apps

if apps:
    packages.installed(
        name="uWSGI: install Python and git",
        packages=["python3", "python3-venv", "git", "ca-certificates"],
    )
    uv.installed(name="uWSGI: install uv")
    several.directories(
        name="uWSGI: the directory of configuration, each app's own and its directory of releases",
        paths=["/etc/uwsgi", *(f"/srv/{app.name}{path}" for app in apps for path in ("", "/releases"))],
    )
    for app in host.loop(apps):
        root = f"/srv/{app.name}"
        accounts.system(name="uWSGI: a user for each app", user=app.name, home=root)
        several.directories(
            name="uWSGI: the app's cache", paths=[f"{root}/.cache"], user=app.name, group=app.name, mode="700"
        )

    for app in host.loop([app for app in apps if app.files]):
        several.directories(
            name="uWSGI: the directory of big files",
            paths=[app.files.directory],
            user=app.name,
            group=app.name,
        )

    for app in host.loop([app for app in apps if app.app]):
        values = {"site": app, "uwsgi": app.uwsgi or AppUwsgi()}
        several.files(
            name="uWSGI: configuration",
            files={
                f"/etc/uwsgi/{app.name}.ini": checked.render(Path("templates/uwsgi/app.ini.j2"), **values)
            },
        )
        units.units(
            name="uWSGI: units of the socket, of a release and of a candidate",
            units={
                f"{app.name}.service": checked.render(TEMPLATES / "app.service.j2", **values),
                f"{app.name}.socket": checked.render(TEMPLATES / "app.socket.j2", **values),
                f"{app.name}@.service": checked.render(
                    TEMPLATES / "app@.service.j2", candidate=False, **values
                ),
                f"{app.name}-candidate@.service": checked.render(
                    TEMPLATES / "app@.service.j2", candidate=True, **values
                ),
            },
        )
        units.kept(
            name="uWSGI: systemd holds the app's socket", unit=f"{app.name}.socket", known=context.units
        )
