"""uWSGI for every app of the droplet: its user, its directories, its configuration and its units."""

from pyinfra import host
from pyinfra.operations import apt, files, systemd
from pyinfra.operations.util import any_changed

from smallfleet.context import Context
from smallfleet.model.roles import AppUwsgi
from smallfleet.operations import accounts, uv

context = Context.of(host)
apps = context.apps

if apps:
    apt.packages(
        name="uWSGI: install Python and git",
        packages=["python3", "python3-venv", "git", "ca-certificates"],
        cache_time=86400,
        update=True,
    )
    uv.installed(name="uWSGI: install uv")
    files.directory(name="uWSGI: its directory of configuration", path="/etc/uwsgi", mode="755")

    for app in host.loop(apps):
        root = f"/srv/{app.name}"
        accounts.system(name="uWSGI: a user for each app", user=app.name, home=root)
        files.directory(name="uWSGI: the app's directory", path=root, user="root", group="root", mode="755")
        files.directory(
            name="uWSGI: the directory of releases",
            path=f"{root}/releases",
            user="root",
            group="root",
            mode="755",
        )
        files.directory(
            name="uWSGI: the app's cache", path=f"{root}/.cache", user=app.name, group=app.name, mode="700"
        )

    for app in host.loop([app for app in apps if app.files]):
        files.directory(
            name="uWSGI: the directory of big files",
            path=app.files.directory,
            user=app.name,
            group=app.name,
            mode="755",
        )

    for app in host.loop([app for app in apps if app.app]):
        values = {"site": app, "uwsgi": app.uwsgi or AppUwsgi()}
        units = "/etc/systemd/system"
        files.template(
            name="uWSGI: configuration",
            src="templates/uwsgi/app.ini.j2",
            dest=f"/etc/uwsgi/{app.name}.ini",
            **values,
        )
        written = [
            files.template(
                name="uWSGI: socket unit",
                src="templates/systemd/app.socket.j2",
                dest=f"{units}/{app.name}.socket",
                **values,
            ),
            files.template(
                name="uWSGI: the socket's own unit",
                src="templates/systemd/app.service.j2",
                dest=f"{units}/{app.name}.service",
                **values,
            ),
            files.template(
                name="uWSGI: unit of a release",
                src="templates/systemd/app@.service.j2",
                dest=f"{units}/{app.name}@.service",
                candidate=False,
                **values,
            ),
            files.template(
                name="uWSGI: unit of a candidate",
                src="templates/systemd/app@.service.j2",
                dest=f"{units}/{app.name}-candidate@.service",
                candidate=True,
                **values,
            ),
        ]
        systemd.daemon_reload(name="uWSGI: systemd reads its units anew", _if=any_changed(*written))
        systemd.service(
            name="uWSGI: systemd holds the app's socket",
            service=f"{app.name}.socket",
            running=True,
            enabled=True,
        )
