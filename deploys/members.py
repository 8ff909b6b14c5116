"""Members of MongoDB's set that the inventory has no longer leave it, now that no app asks for them.

pyinfra inventory/prod.py deploys/members.py      last of deploys/site.py; they can be destroyed after it
"""

from pyinfra import host, state

from smallfleet.context import Context
from smallfleet.model.roles import MongodbRole
from smallfleet.operations import mongodb

here = Context.of(host)
in_run = [other.name for other in state.inventory.get_active_hosts()]

for name in here.roles:
    role = here.role(name)
    if isinstance(role, MongodbRole):
        members = {one.name: here.private_address_of(one.name) for one in here.fleet.droplets_of(name)}
        asking = [
            one.name for app in here.fleet.apps if app.mongodb for one in here.fleet.droplets_of(app.name)
        ]
        mongodb.left(
            name="Let go of members of MongoDB's set",
            spec=mongodb.set_spec(role, here.private_address, members),
            missing=sorted({one for one in asking if one not in in_run}),
            _if=lambda: not state.failed_hosts,
        )
