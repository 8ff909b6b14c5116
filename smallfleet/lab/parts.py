"""The parts of a lab as the API sees them: machines, network, DNS. Data and protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class MachineSpec:
    """What a droplet is made from. Addresses without prefix length; `vpc_range` in CIDR form."""

    id: int
    name: str
    image: str  # a slug ("debian-12-x64") or "snapshot-ID"
    memory: int  # MiB
    vcpus: int
    public_address: str
    private_address: str
    vpc_range: str
    vpc_id: str
    ssh_keys: tuple[str, ...]  # public keys, OpenSSH form
    user_data: str | None = None


class Machines(Protocol):
    """Droplets as machines. Calls block until done; safe from several threads; faults raise `LabError`."""

    def create(self, spec: MachineSpec) -> None: ...  # root laid down and started, network attached
    def start(self, id: int) -> None: ...
    def shutdown(self, id: int) -> None: ...  # graceful; returns when it is off
    def power_off(self, id: int) -> None: ...  # hard
    def reboot(self, id: int) -> None: ...  # graceful, returns when the new boot has begun
    def power_cycle(self, id: int) -> None: ...  # hard off, on
    def destroy(self, id: int) -> None: ...  # also when it does not exist
    def running(self, id: int) -> bool: ...
    def snapshot(self, id: int, image: str) -> float: ...  # image "snapshot-ID"; returns size in GiB
    def delete_snapshot(self, image: str) -> None: ...
    def rebuild(self, id: int, image: str) -> None: ...
    def resize(self, id: int, memory: int, vcpus: int) -> None: ...


@dataclass(frozen=True)
class Rule:
    """One rule of a cloud firewall with sources (inbound) or destinations (outbound) resolved to CIDRs."""

    protocol: Literal["tcp", "udp", "icmp"]
    ports: str  # "22", "8000-9000" or "all"; ignored for icmp
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class DropletRules:
    """Cloud firewall of one droplet: all that is not allowed here is dropped, in each direction."""

    id: int
    inbound: tuple[Rule, ...] = ()
    outbound: tuple[Rule, ...] = ()


class Network(Protocol):
    """The lab's network. Droplets that `apply_firewalls` does not name are open."""

    def apply_firewalls(self, rules: list[DropletRules]) -> None: ...
    def assign_reserved_ip(self, address: str, droplet: int | None) -> None: ...  # None takes it away


@dataclass(frozen=True)
class Record:
    """A DNS record with its full name, no final dot ("www.example.com")."""

    type: Literal["A", "AAAA", "CNAME", "MX", "TXT", "NS", "SRV", "CAA"]
    name: str
    data: str
    ttl: int = 1800
    priority: int | None = None
    port: int | None = None
    weight: int | None = None
    flags: int | None = None
    tag: str | None = None


class Dns(Protocol):
    """The lab's DNS server. `publish` replaces all records and returns when they are being served."""

    def publish(self, domains: list[str], records: list[Record]) -> None: ...


@dataclass(frozen=True)
class BalancerSpec:
    """A load balancer as it is to be. `targets`: private addresses; `check` as the API has health_check."""

    id: int
    public_address: str
    private_address: str
    vpc_range: str
    vpc_id: str
    ports: dict[str, int]  # {its port: the targets' port}
    proxy_protocol: bool
    check: dict[str, Any]
    targets: tuple[str, ...]


class Balancers(Protocol):
    """The lab's load balancers. `apply` has exactly these, and returns when they answer."""

    def apply(self, specs: list[BalancerSpec]) -> None: ...


@dataclass
class Parts:
    """What a lab's API drives."""

    machines: Machines
    network: Network
    dns: Dns
    balancers: Balancers
    public_range: str  # CIDR; the first address is the gateway
    images: list[str] = field(default_factory=lambda: ["debian-12-x64", "debian-13-x64"])
