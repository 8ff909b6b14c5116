"""Roles: what a droplet can be asked to be. One model per kind; every value that has a default shows it here.

A role file is checked against the model of its `kind`; a key that no model knows is an error. `{domain}` in
an app's domain and aliases is the fleet's domain. roles/ is the reference for people, this for the engine.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Size = Annotated[
    str, StringConstraints(pattern=r"^[1-9][0-9]*[KMG]\Z")
]  # bytes, as systemd and NGINX write them: 256M
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}\Z")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
Domain = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])\Z"
    ),
]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]*\Z")]
UrlPrefix = Annotated[str, StringConstraints(pattern=r"^/([A-Za-z0-9._~-]+/)+\Z")]
InRelease = Annotated[str, StringConstraints(pattern=r"^(?!/)(?!.*(^|/)\.\.(/|$))[A-Za-z0-9._/-]+\Z")]
Absolute = Annotated[str, StringConstraints(pattern=r"^/(?!.*(^|/)\.\.(/|$))[A-Za-z0-9._/-]+\Z")]
OneLine = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+\Z")]


class Part(BaseModel):
    """A mapping in a role file: no unknown key, no change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")


class Role(Part):
    """What all kinds have. `name` is the file's name."""

    default_on: ClassVar[tuple[str, ...]] = ()

    name: Name
    kind: str
    on: tuple[str, ...] = ()  # roles that come with it on the same droplet; base comes always
    needs: tuple[str, ...] = ()  # roles that must be somewhere in the fleet, and are deployed first


class User(Part):
    """A person's account on every droplet. Keys: the fleet's, unless lines of authorized_keys are given."""

    name: Name
    sudo: bool = False
    ssh_keys: tuple[OneLine, ...] = ()


class Journald(Part):
    max_use: Size = "200M"
    retention: str = Field(default="1month", pattern=r"^[1-9][0-9]*(s|min|h|day|week|month|year)s?\Z")


class UnattendedUpgrades(Part):
    """Security updates by themselves, daily. They never reboot: that is the owner's to say."""

    enabled: bool = True


class Ssh(Part):
    """sshd. Logins are by key; root only by key, and only because the deploys come in as root."""

    max_auth_tries: Positive = 4
    client_alive_interval: Positive = 60  # seconds


class BaseRole(Role):
    """What every droplet has."""

    kind: Literal["base"]
    timezone: str = Field(default="Etc/UTC", pattern=r"^[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+)*\Z")
    users: tuple[User, ...] = ()
    swap: Size | None = "1G"  # size of the swap file; null for none
    journald: Journald = Journald()
    unattended_upgrades: UnattendedUpgrades = UnattendedUpgrades()
    ssh: Ssh = Ssh()
    undo_seconds: Annotated[int, Field(ge=5, le=3600)] = 60

    @field_validator("users")
    @classmethod
    def _once_each(cls, users: tuple[User, ...]) -> tuple[User, ...]:
        names = [user.name for user in users]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"these users are there twice: {', '.join(twice)}")
        return users


class Tls(Part):
    """Where certificates come from: an ACME directory (https), and whom it writes to (null: nobody)."""

    directory: str = Field(
        default="https://acme-v02.api.letsencrypt.org/directory", pattern=r"^https://[^\s\"';{}]+\Z"
    )
    email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+\Z")


class NginxRole(Role):
    kind: Literal["nginx"]
    tls: Tls = Tls()
    worker_processes: Positive | Literal["auto"] = "auto"
    worker_connections: Positive = 1024  # per worker
    keepalive_timeout: Positive = 65  # seconds
    cache_size: Size = "100M"  # disk for cached pages, all apps of a droplet together


class UwsgiRole(Role):
    """Values for every app's `uwsgi:` that does not give its own."""

    kind: Literal["uwsgi"]
    processes: Positive = 2
    threads: Positive = 4
    memory: Size = "256M"  # of the app's unit, all processes together
    harakiri: Positive = 30  # seconds that one request may take
    max_requests: Positive = 5000  # per process, before it is started anew; not where there is only one


class Archive(Part):
    """MongoDB's apt archive. {os} and {codename}: the image's; {version}: the role's; the deploy fills in."""

    url: str = Field(default="https://repo.mongodb.org/apt/{os}", pattern=r"^https?://[^\s]+\Z")
    key: str = Field(default="https://pgp.mongodb.com/server-{version}.asc", pattern=r"^https?://[^\s]+\Z")
    suite: str = Field(default="{codename}/mongodb-org/{version}", pattern=r"^[A-Za-z0-9._/{}-]+\Z")
    component: str | None = None  # null: MongoDB's own, main on Debian and multiverse on Ubuntu
    packages: tuple[str, ...] = ("mongodb-org-server",)


class MongodbRole(Role):
    kind: Literal["mongodb"]
    version: str = Field(default="8.0", pattern=r"^[0-9]+\.[0-9]+\Z")
    archive: Archive = Archive()
    port: Port = 27017
    cache: Size | Literal["auto"] = "auto"  # WiredTiger's; auto: from the droplet's memory
    members: Literal[1, 3] = 1  # droplets with this role; a majority of them is needed to write
    election_seconds: Annotated[int, Field(ge=1, le=60)] = 3  # without a word from the primary


class Application(Part):
    """The code: where it comes from and how it is run."""

    repository: str = Field(pattern=r"^(https?|git|ssh|file)://[^\s]+\Z|^[^\s@]+@[^\s:]+:[^\s]+\Z")
    ref: str = Field(default="main", pattern=r"^(?!-)[A-Za-z0-9._/-]+\Z")
    module: str = Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w]*)?\Z")
    requirements: InRelease = "requirements.txt"
    setup: OneLine | None = None
    setup_seconds: Positive = 300
    health: UrlPath = "/health"
    start_seconds: Positive = 60  # for a new release to load and answer, before it is given up
    watch: Annotated[int, Field(ge=0, le=600)] = (
        10  # seconds after the switch in which it can be switched back
    )
    keep: Positive = 5
    keep_disk: Size | None = "1G"  # of all releases together
    environment: dict[Variable, OneLine] = Field(default_factory=dict)
    secrets: tuple[Variable, ...] = ()


class AppUwsgi(Part):
    """How many, how big. What is not given comes from the role uwsgi.

    `port`: HTTP on loopback as well, for a look by hand.
    """

    processes: Positive = 2
    threads: Positive = 4
    memory: Size = "256M"
    harakiri: Positive = 30
    max_requests: Positive = 5000
    port: Port | None = None


class AppMongodb(Part):
    database: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}\Z")

    @field_validator("database")
    @classmethod
    def _not_mongos_own(cls, database: str) -> str:
        if database in ("admin", "local", "config"):
            raise ValueError(f"{database} is MongoDB's own; take another name")
        return database


class Cache(Part):
    """Pages that NGINX keeps: exact paths, for so many seconds, and the old while a new one is fetched."""

    paths: tuple[UrlPath, ...] = Field(min_length=1)
    seconds: Positive = 60


class Rate(Part):
    """Requests per second and client address, and how many more at once."""

    requests: Positive = 20
    burst: Positive = 40


class AppNginx(Part):
    static: dict[UrlPrefix, InRelease] = Field(default_factory=dict)
    cache: Cache | None = None
    rate: Rate | None = Rate()
    maintenance: Literal["html", "json"] = "html"  # the page, for who does not say what it accepts
    max_body: Size = "1M"


class Files(Part):
    """Big files on the droplet, served by NGINX in ranges."""

    url: UrlPrefix = "/files/"
    directory: Absolute


class AppRole(Role):
    """A site: an app behind uWSGI and NGINX, files behind NGINX, or both."""

    kind: Literal["app"]
    domain: Domain
    aliases: tuple[Domain, ...] = ()
    app: Application | None = None
    uwsgi: AppUwsgi | None = None
    mongodb: AppMongodb | None = None
    nginx: AppNginx = AppNginx()
    files: Files | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> AppRole:
        wants = []
        if "nginx" not in self.on:
            wants.append("a site needs nginx: on: [nginx, …]")
        if self.app and "uwsgi" not in self.on:
            wants.append("app: needs uwsgi on the same droplet: on: [nginx, uwsgi]")
        if self.uwsgi and not self.app:
            wants.append("uwsgi: stands without app:, what would it run?")
        if self.mongodb and "mongodb" not in (*self.needs, *self.on):
            wants.append("mongodb: is given, so write needs: [mongodb]")
        if not self.app and not self.files:
            wants.append("a site needs app: or files:, it has nothing to show")
        if wants:
            raise ValueError("; ".join(wants))
        return self


class EdgeRole(Role):
    """NGINX in front of apps that have several droplets; theirs answer it at `port`, in plain HTTP."""

    kind: Literal["edge"]
    sites: tuple[Name, ...] | None = None  # apps; null: every app that is on more than one droplet
    port: Port = 8080

    @model_validator(mode="after")
    def _has_nginx(self) -> EdgeRole:
        if "nginx" not in self.on:
            raise ValueError("an edge needs nginx: on: [nginx]")
        return self


KINDS: dict[str, type[Role]] = {
    "base": BaseRole,
    "nginx": NginxRole,
    "uwsgi": UwsgiRole,
    "mongodb": MongodbRole,
    "edge": EdgeRole,
    "app": AppRole,
}


def defaults_for_apps(role: UwsgiRole) -> dict[str, Any]:
    """The values of `uwsgi` that an app's own `uwsgi:` is laid over."""
    return role.model_dump(include={"processes", "threads", "memory", "harakiri", "max_requests"})
