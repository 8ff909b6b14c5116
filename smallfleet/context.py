"""What a deploy script asks about the droplet it runs for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from smallfleet.errors import FleetError
from smallfleet.model.fleet import Droplet, Fleet
from smallfleet.model.roles import AppRole, Role
from smallfleet.secrets import Secret

MISSING = "0.0.0.0"  # in the place of an address that a droplet does not have yet


class Addresses(TypedDict):
    """A droplet's IPv4 addresses."""

    public: str
    private: str


class Context:
    """One droplet in its fleet, as the deploys see it."""

    def __init__(self, host: Any, fleet: Fleet, droplet: Droplet) -> None:
        self.host, self.fleet, self.droplet = host, fleet, droplet
        self.roles: list[str] = fleet.roles_of(droplet)  # in the order they are deployed

    @classmethod
    def of(cls, host: Any) -> Context:
        """The context of a pyinfra host of a fleet's inventory; `FleetError` for any other host."""
        fleet, droplet = host.data.get("fleet"), host.data.get("droplet")
        if not isinstance(fleet, Fleet) or not isinstance(droplet, Droplet):
            raise FleetError(
                f"{host.name} is no droplet of a fleet. The deploys run on an inventory that ends in\n"
                "  globals().update(fleet.groups())"
            )
        return cls(host, fleet, droplet)

    def has(self, role: str) -> bool:
        """Whether the droplet has the role `role`, or any role of that kind."""
        return role in self.roles or any(self.fleet.roles[name].kind == role for name in self.roles)

    def role(self, name: str) -> Any:
        """The role `name` of the fleet (its model: `roles.NginxRole` and so on), wherever it is placed."""
        try:
            return self.fleet.roles[name]
        except KeyError:
            raise FleetError(f"the fleet {self.fleet.name} has no role {name}") from None

    @property
    def apps(self) -> list[AppRole]:
        """The apps on this droplet."""
        return [role for role in self._roles() if isinstance(role, AppRole)]

    @property
    def fronted(self) -> list[AppRole]:
        """The apps of other droplets that this one, an edge, stands in front of."""
        return self.fleet.fronted_by(self.droplet.name)

    def front_of(self, app: AppRole) -> Addresses | None:
        """The addresses of the edge in front of the app; None where there is none."""
        front = self.fleet.front_of(app)
        return self._addresses_of(front.name) if front else None

    def named(self, app: AppRole) -> bool:
        """Whether the app's name led to this droplet itself when the run began: visitors may still come."""
        names: dict[str, list[str]] = getattr(self.host.connector, "names", dict)()
        return self.public_address in names.get(app.domain, [])

    @property
    def moves(self) -> list[str]:
        """The DNS names that are to lead to this droplet once it serves their sites."""
        return list(getattr(self.host.connector, "moves", list)())

    @property
    def hidden(self) -> bool:
        """Whether all visitors of this droplet come through an edge or a load balancer in front of it."""
        front = [self.front_of(app) or self.fleet.balancer_of(app) for app in self.apps]
        return all([self.apps, *front, *(not self.named(app) for app in self.apps)])

    @property
    def balanced(self) -> list[AppRole]:
        """The apps on this droplet whose visitors come through a load balancer."""
        return [app for app in self.apps if self.fleet.balancer_of(app)]

    @property
    def units(self) -> list[str]:
        """The systemd units on this droplet that the deploys look after."""
        units = ["ssh.service", "systemd-journald.service", "nftables.service"]
        if self.has("nginx"):
            units += ["nginx.service", "certbot.service", "certbot.timer"]
            units += ["smallfleet-maintenance.path", "smallfleet-maintenance.service"]
        if self.has("mongodb"):
            units += ["mongod.service"]
        kinds = (".socket", ".service", "@.service", "-candidate@.service")
        return units + [f"{app.name}{kind}" for app in self.apps if app.app for kind in kinds]

    def _roles(self) -> list[Role]:
        return [self.fleet.roles[name] for name in self.roles]

    def secret(self, name: str) -> Secret:
        """A secret that this droplet needs; `FleetError` if it needs none of that name, or it is not set."""
        from smallfleet.secrets.needed import secrets_of

        if name not in secrets_of(self.fleet, self.roles):
            raise FleetError(
                f"{self.droplet.name} has no role that needs the secret {name}, so it does not get it"
            )
        secrets = self.fleet.open_secrets()
        if name not in secrets:
            raise FleetError(f"the secret {name} is not set: fleet secrets set {self.fleet.inventory} {name}")
        return secrets[name]

    @property
    def addresses(self) -> Mapping[str, Addresses]:
        """Every droplet's addresses by name: the host's data `addresses`, else what the connector found."""
        return self.host.data.get("addresses") or self.host.connector.addresses()

    @property
    def public_address(self) -> str:
        return self._addresses_of(self.droplet.name)["public"]

    @property
    def private_address(self) -> str:
        return self._addresses_of(self.droplet.name)["private"]

    def private_address_of(self, droplet: str) -> str:
        return self._addresses_of(droplet)["private"]

    def private_addresses_of(self, role: str) -> list[str]:
        """The private addresses of the droplets that have `role`, in the inventory's order."""
        return [self._addresses_of(droplet.name)["private"] for droplet in self.fleet.droplets_of(role)]

    def backends_of(self, app: AppRole) -> list[tuple[str, str]]:
        """(droplet, where its NGINX answers this edge) for each droplet of the app."""
        assert self.fleet.edge is not None, "asked of an edge alone"
        port = self.fleet.edge.port
        return [
            (droplet.name, f"{self._addresses_of(droplet.name)['private']}:{port}")
            for droplet in self.fleet.droplets_of(app.name)
        ]

    def peers_of(self, role: str) -> list[str]:
        """The private addresses of the other droplets that have `role`; those that exist."""
        mine = (MISSING, self.private_address)
        return [address for address in self.private_addresses_of(role) if address not in mine]

    def _addresses_of(self, name: str) -> Addresses:
        try:
            return self.addresses[name]
        except KeyError:
            raise FleetError(
                f"the droplet {name} has no addresses: it does not exist yet. Deploy it first."
            ) from None
