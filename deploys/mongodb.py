"""MongoDB: from its archive, on the private network, with a user per app; alone or as a set of three.

pyinfra inventory/prod.py deploys/mongodb.py --limit mongodb

Members that the inventory has no longer leave the set after the apps know: deploys/members.py.
"""

import json
from pathlib import Path

from pyinfra import host, state
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, files
from pyinfra.operations.util import any_changed

from smallfleet import programs
from smallfleet.context import Context
from smallfleet.errors import FleetError
from smallfleet.facts.files import FileState
from smallfleet.facts.system import Outdated
from smallfleet.model.roles import MongodbRole
from smallfleet.operations import checked, mongodb, packages, secrets, several, units, uv
from smallfleet.secrets import Secret

TEMPLATES = Path("templates")
KEYFILE = "/etc/smallfleet/mongodb/keyfile"
CONFIG = "/etc/mongod.conf"
UNIT = "/etc/systemd/system/mongod.service.d/smallfleet.conf"


def deploy(droplet: Context, role: MongodbRole) -> None:
    # The package, from MongoDB's archive.
    source = mongodb.source(role, droplet.fleet.image)
    installed = host.get_fact(DebPackages)
    several.directories(name="Make the keyrings' directory", paths=[mongodb.KEYRINGS])
    files.download(name="Get the archive's key", src=source.key, dest=source.keyring, mode="644")
    listed = apt.repo(name="Add MongoDB's archive", src=source.line, filename="mongodb")
    apt.update(
        name="Update the packages' lists for MongoDB",
        _if=lambda: listed.did_change() or any(package not in installed for package in role.archive.packages),
    )
    apt.packages(name="Install MongoDB", packages=list(role.archive.packages), no_recommends=True)

    # What talks to it.
    packages.installed(name="Install Python's venv", packages=["python3-venv"], no_recommends=True)
    uv.installed(name="Install uv at its pinned version")
    uv.venv(
        name="Make the venv that talks to MongoDB",
        path=f"{mongodb.ROOM}/venv",
        requirements=TEMPLATES / "mongodb/requirements.txt",
    )
    several.files(
        name="Put the programs that make MongoDB's users and look after its set",
        files={
            mongodb.PROGRAM: programs.path("mongodb_users").read_text(),
            mongodb.SET_PROGRAM: programs.text("mongodb_set"),
        },
    )
    members = {one.name: droplet.private_address_of(one.name) for one in droplet.fleet.droplets_of(role.name)}
    spec = mongodb.set_spec(role, droplet.private_address, members)
    several.files(name="Say who is in MongoDB's set", files={mongodb.SET: json.dumps(spec, indent=1) + "\n"})

    # Its config, one member after the other: the others are primary and majority meanwhile.
    key = Secret(droplet.secret("mongodb/keyfile").reveal().strip() + "\n")
    there = host.get_fact(FileState, path=KEYFILE)
    if len(members) > 1 and there and there["sha256"] != secrets.digest(key):
        raise FleetError(
            f"{host.name} has another keyfile than the secret mongodb/keyfile, and members with different "
            "ones refuse each other. Give the secret its old value back; or go back to one member, change it "
            "there, and have three again (docs/mongodb.md)."
        )
    keyfile = secrets.file(
        name="Put the keyfile",
        dest=KEYFILE,
        content=key,
        user="mongodb",
        group="mongodb",
    )
    unit = several.files(
        name="Start MongoDB when its address is there",
        files={UNIT: checked.render(TEMPLATES / "systemd/mongod.conf.j2")},
    )
    changed = any_changed(keyfile, unit)

    def goes_on() -> bool:
        return not any(other.name in members for other in state.failed_hosts)

    for turn in host.loop(members):
        if turn == host.name:
            # Tried before it is used; if MongoDB does not come up with it, the last one is put back and used.
            checked.file(
                name="Configure MongoDB",
                dest=CONFIG,
                content=checked.render(
                    TEMPLATES / "mongodb/mongod.conf.j2",
                    address=droplet.private_address,
                    port=role.port,
                    cache=mongodb.cache_size(role.cache, droplet.droplet.size, alone=not droplet.apps),
                    keyfile=KEYFILE,
                    set=spec["name"],
                ),
                check="mongod --config {candidate} --outputConfig >/dev/null",
                after=mongodb.restart(role.port),
                back=mongodb.restart(role.port),
                _if=goes_on,
            )
            mongodb.restarted(
                name="Restart MongoDB with its new config",
                port=role.port,
                _if=[
                    goes_on,
                    lambda: (
                        changed()
                        or bool(host.get_fact(Outdated, service="mongod.service", files=[CONFIG, UNIT]))
                    ),
                ],
            )
            units.kept(name="Run MongoDB", unit="mongod.service", known=droplet.units)
        # All take part, in this one line: so no turn begins before the one before it is over.
        mongodb.awaited(name="MongoDB: one member after the other")

    # Its users, and the members: new ones get the users with all other data.
    mongodb.begun(name="Begin MongoDB's set", spec=spec, _if=goes_on)
    admin = mongodb.User("admin", "admin", ("root",), droplet.secret("mongodb/admin"))
    apps = [
        mongodb.User(app.name, app.mongodb.database, ("readWrite",), droplet.secret(f"mongodb/{app.name}"))
        for app in droplet.fleet.apps
        if app.mongodb
    ]
    mongodb.users(name="Make MongoDB's users", users=[admin, *apps], port=role.port, _if=goes_on)
    mongodb.joined(name="Take the members into MongoDB's set", spec=spec, _if=goes_on)


here = Context.of(host)
for name in here.roles:
    if isinstance(here.role(name), MongodbRole):
        deploy(here, here.role(name))
