"""A plan as data: what `--format json` prints and `fleet apply` reads. Its schema: docs/plan.schema.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1
Downtime = Literal["none", "a reload", "seconds"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Diff(_Part):
    """A file that an operation writes or removes."""

    path: str = Field(description="absolute path on the droplet")
    action: Literal["create", "change", "remove"]
    hidden: bool = Field(
        default=False, description="it holds secrets, or is for its owner's eyes: no text is given"
    )
    text: str = Field(
        default="", description="unified diff; empty where hidden, or where only owner or mode change"
    )


class Effect(_Part):
    """What an operation does beside writing files."""

    action: str = Field(description="start, stop, restart, reload, enable, install, issue, release, …")
    target: str = Field(description="the unit, package, app … that it is done to")


class Operation(_Part):
    """An operation that will change something on a droplet."""

    name: str = Field(description="as pyinfra prints it, its deploy first")
    diffs: list[Diff] = []
    effects: list[Effect] = []
    because: list[str] = Field(default=[], description="the operations whose changes make this one run")


class Droplet(_Part):
    """What will change on one droplet."""

    name: str
    roles: list[str]
    exists: bool = Field(description="false: it is to be created, and is planned as a pristine one")
    operations: list[Operation] = Field(description="in the order in which they run")


class NewDroplet(_Part):
    """A droplet to be created."""

    name: str
    size: str
    region: str
    image: str
    monthly: float = Field(description="USD a month")


class Rule(_Part):
    """A rule of the cloud's firewall, to be added or removed."""

    action: Literal["add", "remove"]
    direction: Literal["inbound", "outbound"]
    rule: str = Field(description="protocol, ports, and from or to where")


class Record(_Part):
    """A DNS name that is to lead elsewhere."""

    name: str
    now: list[str] = Field(description="its present records, as TYPE DATA")
    droplets: list[str] = Field(description="the droplets whose public addresses it will have")


class Cloud(_Part):
    """What will change in the account."""

    droplets: list[NewDroplet] = []
    firewall: list[Rule] = []
    records: list[Record] = []
    others: list[str] = Field(
        default=[], description="the VPC, SSH keys, tags and domains to be made, in words"
    )
    strangers: list[str] = Field(
        default=[], description="droplets with the fleet's tag that the inventory has not"
    )
    monthly_now: float = Field(default=0.0, description="USD a month for the fleet's droplets as they are")
    monthly_change: float = Field(default=0.0, description="USD a month, more or less")


class Site(_Part):
    """A site that the plan touches."""

    name: str
    domain: str
    droplet: str
    downtime: Downtime = Field(
        description="none; a reload of NGINX (no request is lost); seconds without an answer, or with errors"
    )
    why: list[str] = Field(description="what touches it")


class BlastRadius(_Part):
    """What the plan touches, in all."""

    sites: list[Site] = []
    restarts: list[str] = Field(
        default=[], description="DROPLET: UNIT, for each that is stopped or restarted"
    )
    reloads: list[str] = Field(default=[], description="DROPLET: UNIT")
    irreversible: list[str] = Field(default=[], description="what cannot be undone by planning the other way")


class Error(_Part):
    """A droplet that could not be planned, or not to its end."""

    droplet: str = Field(description="its name; * for all")
    reason: str


class Summary(_Part):
    droplets: int = Field(description="droplets with changes, and those to be created")
    operations: int = Field(description="operations that change something, over all droplets")
    cloud: int = Field(description="things to be made or changed in the account")
    errors: int


class Plan(_Part):
    """A plan of `deploy` on the droplets of `inventory`."""

    version: Literal[1] = 1
    made: str = Field(description="when, in UTC, as 2026-01-31T12:00:00Z")
    fleet: str
    inventory: str
    deploy: str
    limit: list[str] = Field(description="--limit as it was given; none: all")
    summary: Summary
    cloud: Cloud
    droplets: list[Droplet] = Field(description="all in the limit, those without changes too")
    blast_radius: BlastRadius
    errors: list[Error]

    @property
    def empty(self) -> bool:
        return not (self.summary.operations or self.summary.cloud)
