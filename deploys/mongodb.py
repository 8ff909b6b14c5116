"""MongoDB: from its archive, on the private network, with a user per app.

pyinfra inventory/prod.py deploys/mongodb.py --limit mongodb
"""

from pathlib import Path

from pyinfra import host
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, files, systemd
from pyinfra.operations.util import any_changed

from smallfleet import programs
from smallfleet.context import Context
from smallfleet.facts.system import Outdated
from smallfleet.model.roles import MongodbRole
from smallfleet.operations import checked, mongodb, secrets, uv
from smallfleet.secrets import Secret

TEMPLATES = Path("templates")
KEYFILE = "/etc/smallfleet/mongodb/keyfile"
CONFIG = "/etc/mongod.conf"
UNIT = "/etc/systemd/system/mongod.service.d/smallfleet.conf"


def deploy(droplet: Context, role: MongodbRole) -> None:
    # The package, from MongoDB's archive.
    source = mongodb.source(role, droplet.fleet.image)
    installed = host.get_fact(DebPackages)
    files.directory(name="Make the keyrings' directory", path=mongodb.KEYRINGS, mode="755")
    files.download(name="Get the archive's key", src=source.key, dest=source.keyring, mode="644")
    listed = apt.repo(name="Add MongoDB's archive", src=source.line, filename="mongodb")
    apt.update(
        name="Update the packages' lists for MongoDB",
        _if=lambda: listed.did_change() or any(package not in installed for package in role.archive.packages),
    )
    apt.packages(name="Install MongoDB", packages=list(role.archive.packages), no_recommends=True)

    # Its config.
    files.directory(name="Make MongoDB's directory", path="/etc/smallfleet/mongodb", mode="755")
    keyfile = secrets.file(
        name="Put the keyfile",
        dest=KEYFILE,
        content=Secret(droplet.secret("mongodb/keyfile").reveal().strip() + "\n"),
        user="mongodb",
        group="mongodb",
    )
    unit = files.template(
        name="Start MongoDB when its address is there",
        src=str(TEMPLATES / "systemd/mongod.conf.j2"),
        dest=UNIT,
        mode="644",
    )
    # Tried before it is used; if MongoDB does not come up with it, the last one is put back and used again.
    checked.file(
        name="Configure MongoDB",
        dest=CONFIG,
        content=checked.render(
            TEMPLATES / "mongodb/mongod.conf.j2",
            address=droplet.private_address,
            port=role.port,
            cache=mongodb.cache_size(role.cache, droplet.droplet.size, alone=not droplet.apps),
            keyfile=KEYFILE,
        ),
        check="mongod --config {candidate} --outputConfig >/dev/null",
        after=mongodb.restart(role.port),
        back=mongodb.restart(role.port),
    )
    changed = any_changed(keyfile, unit)
    systemd.service(
        name="Restart MongoDB with its new config",
        service="mongod.service",
        restarted=True,
        daemon_reload=True,
        _if=lambda: (
            changed() or bool(host.get_fact(Outdated, service="mongod.service", files=[CONFIG, UNIT]))
        ),
    )
    systemd.service(name="Run MongoDB", service="mongod.service", running=True, enabled=True)

    # Its users.
    uv.installed()
    uv.venv(
        name="Make the venv that talks to MongoDB",
        path=f"{mongodb.ROOM}/venv",
        requirements=TEMPLATES / "mongodb/requirements.txt",
    )
    files.put(
        name="Put the program that makes MongoDB's users",
        src=str(programs.path("mongodb_users")),
        dest=mongodb.PROGRAM,
        mode="644",
    )
    admin = mongodb.User("admin", "admin", ("root",), droplet.secret("mongodb/admin"))
    apps = [
        mongodb.User(app.name, app.mongodb.database, ("readWrite",), droplet.secret(f"mongodb/{app.name}"))
        for app in droplet.fleet.apps
        if app.mongodb
    ]
    mongodb.users(name="Make MongoDB's users", users=[admin, *apps], port=role.port)


here = Context.of(host)
for name in here.roles:
    if isinstance(here.role(name), MongodbRole):
        deploy(here, here.role(name))
