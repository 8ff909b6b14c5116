"""The fleet: droplets, where they are, and the roles they have."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from smallfleet.errors import FleetError
from smallfleet.model.fronting import fronted
from smallfleet.model.roles import AppRole, EdgeRole, Role

if TYPE_CHECKING:
    from smallfleet.secrets import Secret, Secrets

TOKEN_VARIABLE = "DIGITALOCEAN_ACCESS_TOKEN"
TOKEN_SECRET = "digitalocean/token"


def _caller() -> str:
    """`file:line` in the inventory that is being read: the nearest caller outside this package."""
    own = (str(Path(__file__).parent.parent), "pydantic")
    frame = sys._getframe(1)
    while frame.f_back and any(part in frame.f_code.co_filename for part in own):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _pyinfra_reads(inventory: Path) -> bool:
    """Whether pyinfra is reading `inventory` itself, and not another one that imports it."""
    frame: FrameType | None = sys._getframe(1)
    while frame:
        if (
            frame.f_globals.get("__name__") == "pyinfra_cli.inventory"
            and "inventory_filename" in frame.f_locals
        ):
            return Path(frame.f_locals["inventory_filename"]).resolve() == inventory.resolve()
        frame = frame.f_back
    return False


class _Said(BaseModel):
    """What the owner says in the inventory; a wrong word is a FleetError that names the line."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    _where: str = PrivateAttr("")

    def __init__(self, **values: Any) -> None:
        where = _caller()
        try:
            super().__init__(**values)
        except ValidationError as error:
            lines = []
            for fault in error.errors():
                place = ".".join(str(part) for part in fault["loc"])
                lines.append(f"{where}: {type(self).__name__}({place}): {fault['msg']}")
            raise FleetError("\n".join(lines)) from None
        self._where = where

    @property
    def where(self) -> str:
        """`file:line` where it was said."""
        return self._where


class Firewall(_Said):
    """Who may reach SSH, as CIDR ranges. Sites' 80 and 443 are open to all, the rest is closed."""

    ssh_from: list[str] = ["0.0.0.0/0", "::/0"]


class Droplet(_Said):
    """One droplet. What its name, size and roles may be is checked with the whole fleet (`Fleet.roles`)."""

    name: str
    size: str
    roles: list[str]

    def __init__(self, name: str, **values: Any) -> None:
        super().__init__(name=name, **values)


class LoadBalancer(_Said):
    """DigitalOcean's load balancer in front of the droplets of these apps. `size_unit`: nodes, each paid."""

    name: str
    roles: list[str] = Field(min_length=1)
    size_unit: int = Field(default=1, ge=1, le=100)

    def __init__(self, name: str, **values: Any) -> None:
        super().__init__(name=name, **values)


@dataclass(frozen=True)
class _Places:
    """Where a fleet's roles are, of these `roles` and `droplets`."""

    roles: dict[str, Role]
    droplets: list[Droplet]
    of: dict[str, list[str]]  # a droplet's roles, as they are deployed
    fronted: frozenset[str]  # apps that an edge stands in front of


class Fleet(_Said):
    """The droplets of one environment. Making one reads no file, asks nobody and creates nothing."""

    name: str
    region: str = "nyc3"
    image: str = "debian-12-x64"
    vpc: str
    domain: str
    ssh_keys: list[Path] = Field(min_length=1)  # public keys; the first is the owner's own
    ssh_key: Path = cast(Path, None)  # private key; the first public key without .pub
    firewall: Firewall = Field(default_factory=Firewall)
    droplets: list[Droplet]
    load_balancers: list[LoadBalancer] = Field(default_factory=list)
    end_point: str = "https://api.digitalocean.com/v2/"
    secrets_file: Path = cast(Path, None)  # inventory/NAME.secrets.age
    known_hosts: Path = cast(Path, None)  # inventory/NAME.known_hosts
    roles_directory: Path = Path("roles")
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)  # {role: {...}}, laid over its file

    _roles: dict[str, Role] | None = PrivateAttr(None)
    _places: _Places | None = PrivateAttr(None)
    _secrets: Any = PrivateAttr(None)
    _token: Any = PrivateAttr(None)
    _lab_name: str | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        name, keys = values.get("name"), values.get("ssh_keys")
        filled = {
            "secrets_file": f"inventory/{name}.secrets.age",
            "known_hosts": f"inventory/{name}.known_hosts",
        }
        if isinstance(keys, list) and keys:
            filled["ssh_key"] = str(keys[0]).removesuffix(".pub")
        return {**filled, **{key: value for key, value in values.items() if value is not None}}

    @field_validator("ssh_keys", "ssh_key", "secrets_file", "known_hosts", "roles_directory")
    @classmethod
    def _home(cls, value: Any) -> Any:
        return [path.expanduser() for path in value] if isinstance(value, list) else value.expanduser()

    # Roles and where they are.

    @property
    def roles(self) -> dict[str, Role]:
        """The fleet's roles, dependencies first. Checked once; the `FleetError` has all that is wrong."""
        if self._roles is None:
            from smallfleet.model.checks import checked_roles

            self._roles = checked_roles(self)
        return self._roles

    @property
    def apps(self) -> list[AppRole]:
        """The sites, by the order of `roles`."""
        return [role for role in self.roles.values() if isinstance(role, AppRole)]

    def roles_of(self, droplet: Droplet | str) -> list[str]:
        """A droplet's roles as they are deployed: base first, `on` and `needs` before what has them."""
        found = droplet if isinstance(droplet, Droplet) else self.droplet(droplet)
        return list(self._placed().of[found.name])

    def _placed(self) -> _Places:
        """Worked out once: deploys ask for each droplet where all the others' roles are."""
        roles, droplets = self.roles, self.droplets
        if self._places is None or self._places.roles is not roles or self._places.droplets is not droplets:
            of = {}
            for droplet in droplets:
                here = set(self._with_on(droplet.roles))
                of[droplet.name] = [name for name in roles if name in here]
            self._places = _Places(roles, droplets, of, frozenset(fronted(roles.values(), of)))
        return self._places

    def droplet(self, name: str) -> Droplet:
        for droplet in self.droplets:
            if droplet.name == name:
                return droplet
        raise FleetError(f"{self.where}: the fleet {self.name} has no droplet {name}")

    def droplets_of(self, role: str) -> list[Droplet]:
        """The droplets that have `role`, in the inventory's order."""
        of = self._placed().of
        return [droplet for droplet in self.droplets if role in of[droplet.name]]

    @property
    def edge(self) -> EdgeRole | None:
        """The role of the droplet in front of apps that have several, if there is one."""
        return next((role for role in self.roles.values() if isinstance(role, EdgeRole)), None)

    def front_of(self, app: AppRole) -> Droplet | None:
        """The droplet whose NGINX visitors of the app come to first; None if they come to the app's own."""
        if app.name not in self._placed().fronted or self.edge is None:  # in this order: most sites have none
            return None
        return self.droplets_of(self.edge.name)[0]

    def balancer_of(self, app: AppRole) -> LoadBalancer | None:
        """The load balancer that visitors of the app come to first, if there is one."""
        return next((one for one in self.load_balancers if app.name in one.roles), None)

    def fronted_by(self, droplet: str) -> list[AppRole]:
        """The apps that `droplet`, an edge, stands in front of."""
        return [app for app in self.apps if (front := self.front_of(app)) and front.name == droplet]

    def _with_on(self, names: list[str]) -> list[str]:
        found = ["base"]
        queue = list(names)
        while queue:
            name = queue.pop(0)
            if name not in found:
                found.append(name)
                queue += self.roles[name].on
        return found

    def groups(self) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        """pyinfra's groups: one per role, of `("@droplet/NAME", data)`. Reads files, asks nobody."""
        # pyinfra goes on to connect, so keys and secrets must be there; `fleet secrets` is to make them.
        if _pyinfra_reads(Path(_caller().rsplit(":", 1)[0])):
            self._check_files()
        groups: dict[str, list[tuple[str, dict[str, Any]]]] = {name: [] for name in self.roles}
        for droplet in self.droplets:
            data = {
                "fleet": self,
                "droplet": droplet,
                "ssh_user": "root",
                "ssh_key": str(self.ssh_key),
                "ssh_known_hosts_file": str(self.known_hosts),
                "ssh_strict_host_key_checking": "yes",
            }
            for role in self.roles_of(droplet):
                groups[role].append((f"@droplet/{droplet.name}", data))
        return groups

    def _check_files(self) -> None:
        """All that is wrong with the files that a run needs, in one `FleetError`."""
        problems = []
        for check in (self.check_keys, lambda: self.roles):
            try:
                check()
            except FleetError as error:
                problems.append(str(error))
        if problems:
            raise FleetError("\n".join(problems))
        self.check_secrets()  # opened with the key, and which are needed is in the roles

    # Secrets.

    def open_secrets(self) -> Secrets:
        """The fleet's secrets, opened with the owner's private key, once. `FleetError` if they cannot be."""
        if self._secrets is None:
            from smallfleet.secrets import Secrets

            self._secrets = Secrets.open(self.secrets_file, [self.ssh_key])
        return self._secrets

    def forget_secrets(self) -> None:
        """Read the secrets file anew when it is next asked."""
        self._secrets = None

    def check_keys(self) -> None:
        """`FleetError` that names the owner's public keys that do not exist."""
        if gone := [key for key in self.ssh_keys if not key.is_file()]:
            raise FleetError(
                f"{self.where}: ssh_keys: {', '.join(map(str, gone))} does not exist. "
                f"Make it: ssh-keygen -t ed25519 -f {gone[0].with_suffix('')}"
            )

    def check_secrets(self) -> None:
        """`FleetError` that names the required secrets that are not set, and the command that sets them."""
        from smallfleet.secrets.needed import check_secrets

        check_secrets(self)

    def token(self) -> Secret:
        """The API's token: the lab's, the environment's or the secrets', in this order; else `FleetError`."""
        from smallfleet.secrets import Secret

        if self._token is not None:
            return self._token
        if text := os.environ.get(TOKEN_VARIABLE, "").strip():
            return Secret(text)
        if self.secrets_file.exists() and TOKEN_SECRET in (secrets := self.open_secrets()):
            return secrets[TOKEN_SECRET]
        raise FleetError(
            "There is no token for DigitalOcean's API. Make one with read and write access at\n"
            f"cloud.digitalocean.com (API), then: fleet secrets set {self.inventory} {TOKEN_SECRET}\n"
            f"or put it into the environment as {TOKEN_VARIABLE}."
        )

    @property
    def inventory(self) -> str:
        """The inventory file that the fleet was said in, as messages name it."""
        file = Path(self.where.rsplit(":", 1)[0])
        return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)

    # The lab.

    @property
    def lab_name(self) -> str | None:
        """The lab that the fleet is in; None for the real cloud."""
        return self._lab_name

    def in_lab(self, name: str | None = None) -> Fleet:
        """The same fleet in the lab `name` (default $SMALLFLEET_LAB, else demo), which must be up."""
        from smallfleet.model.inlab import in_lab

        twin = in_lab(self, name)
        twin._where = _caller()
        return twin
