"""The lab's network: a router namespace, veth pairs, and a masquerading machine. See docs/architecture.md."""

from __future__ import annotations

import ipaddress
import json
import threading
from dataclasses import dataclass, field

from smallfleet.lab import kernel
from smallfleet.lab.descriptor import Lab, exclusive
from smallfleet.lab.errors import LabError
from smallfleet.lab.parts import DropletRules, MachineSpec
from smallfleet.lab.ruleset import Port, router_ruleset
from smallfleet.lab.run import ip_batch, run


def droplet_namespace(lab: str, id: int) -> str:
    return f"sf-{lab}.{id}"


@dataclass
class LabNetwork:
    """Implements `parts.Network`, and attaches droplets. Safe from several threads."""

    lab: Lab
    _ports: dict[int, Port] = field(default_factory=dict)
    _firewalls: dict[int, DropletRules] = field(default_factory=dict)
    _reserved: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def up(self) -> None:
        """Make the router namespace and join it to the machine."""
        lab, link = self.lab, f"sf{self.lab.index}"
        mtu = _uplink_mtu()
        run("ip", "netns", "add", lab.namespace)
        run(
            "ip",
            "link",
            "add",
            link,
            "mtu",
            mtu,
            "type",
            "veth",
            "peer",
            "name",
            "uplink",
            "netns",
            lab.namespace,
        )
        here, there = f"198.19.{lab.index}.0", f"198.19.{lab.index}.1"
        ip_batch(
            [
                "link set lo up",
                f"address add {lab.gateway}/32 dev lo",
                f"address add {there}/31 dev uplink",
                f"link set uplink up mtu {mtu}",
                f"route add default via {here}",
                # What no droplet has is nowhere: never back to the machine, never answered by proxy ARP.
                f"route add unreachable {lab.public_range}",
            ],
            lab.namespace,
        )
        _sysctl(lab.namespace, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.disable_ipv6=1")
        ip_batch(
            [
                f"address add {here}/31 dev {link}",
                f"link set {link} up",
                f"route add {lab.public_range} via {there}",
            ]
        )
        self._load()
        with exclusive():
            kernel.prepare()
            run("nft", "-f", "-", stdin=_machine_ruleset(lab))

    def attach(self, spec: MachineSpec) -> str:
        """Make the droplet's namespace with its two interfaces; returns the namespace's name."""
        name = droplet_namespace(self.lab.name, spec.id)
        router = self.lab.namespace
        mtu = _uplink_mtu()
        public, private = f"pub{spec.id}", f"pri{spec.id}"
        if len(public) > 15:
            raise LabError(f"Droplet id {spec.id} is too long for an interface's name (12 digits at most).")
        prefix = ipaddress.ip_network(self.lab.public_range).prefixlen
        vpc = ipaddress.ip_network(spec.vpc_range)
        run("ip", "netns", "add", name)
        ip_batch(
            [
                f"link add {public} mtu {mtu} type veth peer name eth0 netns {name}",
                f"link add {private} type veth peer name eth1 netns {name}",
                f"link set {public} up",
                f"link set {private} up",
            ],
            router,
        )
        ip_batch(
            [
                "link set lo up",
                f"link set eth0 mtu {mtu} up",
                "link set eth1 up",
                f"address add {spec.public_address}/{prefix} broadcast + dev eth0",
                f"address add {spec.private_address}/{vpc.prefixlen} broadcast + dev eth1",
                f"route add default via {self.lab.gateway} dev eth0",
            ],
            name,
        )
        # proxy_delay 0: by default a proxied ARP answer waits up to 0.8 s.
        settings = [
            setting
            for port in (public, private)
            for setting in (
                f"net.ipv4.conf.{port}.proxy_arp=1",
                f"net.ipv4.neigh.{port}.proxy_delay=0",
                f"net.ipv4.conf.{port}.send_redirects=0",
            )
        ]
        _sysctl(router, *settings)
        ip_batch(
            [
                f"route replace unreachable {vpc}",
                f"route replace {spec.public_address}/32 dev {public} src {self.lab.gateway}",
                f"route replace {spec.private_address}/32 dev {private} src {self.lab.gateway}",
            ],
            router,
        )
        with self._lock:
            self._ports[spec.id] = Port(spec.id, spec.public_address, spec.private_address, spec.vpc_id)
            self._load()
        return name

    def namespace(self, id: int) -> str:
        return droplet_namespace(self.lab.name, id)

    def down(self) -> None:
        """Take away the router and what the machine has for it. `cleanup` does the same for a killed lab."""
        run("ip", "netns", "del", self.lab.namespace, check=False)
        run("ip", "link", "del", f"sf{self.lab.index}", check=False)
        run("nft", "delete", "table", "inet", f"smallfleet{self.lab.index}", check=False)

    def detach(self, id: int) -> None:
        """Take away a droplet's interfaces and namespace; nothing happens if it has none."""
        run("ip", "-n", self.lab.namespace, "link", "del", f"pub{id}", check=False)
        run("ip", "-n", self.lab.namespace, "link", "del", f"pri{id}", check=False)
        run("ip", "netns", "del", droplet_namespace(self.lab.name, id), check=False)
        with self._lock:
            self._firewalls.pop(id, None)
            if self._ports.pop(id, None):
                self._load()

    def apply_firewalls(self, rules: list[DropletRules]) -> None:
        """Replace all cloud firewalls. Connections that are open stay open."""
        with self._lock:
            self._firewalls = {rule.id: rule for rule in rules}
            self._load()

    def assign_reserved_ip(self, address: str, droplet: int | None) -> None:
        """Send what comes for `address` (of the public range) to `droplet`, or to nobody."""
        if ipaddress.ip_address(address) not in ipaddress.ip_network(self.lab.public_range):
            raise LabError(f"Reserved IP {address} is not in the lab's range {self.lab.public_range}.")
        with self._lock:
            self._reserved.pop(address, None)
            # The router owns the address, so that droplets get an answer to their ARP question.
            if droplet is None:
                run(
                    "ip",
                    "-n",
                    self.lab.namespace,
                    "address",
                    "del",
                    f"{address}/32",
                    "dev",
                    "lo",
                    check=False,
                )
            else:
                self._reserved[address] = droplet
                run("ip", "-n", self.lab.namespace, "address", "replace", f"{address}/32", "dev", "lo")
            self._load()

    def _load(self) -> None:
        with self._lock:
            ports = list(self._ports.values())
            rules = [rule for id, rule in self._firewalls.items() if id in self._ports]
            reserved = {a: self._ports[id].public for a, id in self._reserved.items() if id in self._ports}
            text = router_ruleset(ports, rules, reserved)
            run("ip", "netns", "exec", self.lab.namespace, "nft", "-f", "-", stdin=text)


def _machine_ruleset(lab: Lab) -> str:
    table = f"inet smallfleet{lab.index}"
    return f"""\
table {table} {{}}
delete table {table}
table {table} {{
    chain forward {{
        type filter hook forward priority -10
        iifname "sf{lab.index}" ip saddr != {{ {lab.public_range}, 198.19.{lab.index}.0/31 }} drop
        iifname "sf{lab.index}" ip daddr 198.18.0.0/15 drop comment "labs do not reach each other"
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        ip saddr {{ {lab.public_range}, 198.19.{lab.index}.0/31 }} ip daddr != 198.18.0.0/15 masquerade
    }}
}}
"""


def _uplink_mtu() -> str:
    """The MTU of the machine's way out: droplets take it, so that nothing needs to be cut up."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "default") or "[]")
    if not routes:
        return "1500"
    link = json.loads(run("ip", "-json", "link", "show", "dev", routes[0]["dev"]))
    return str(min(1500, link[0]["mtu"]))


def _sysctl(namespace: str, *settings: str) -> None:
    run("ip", "netns", "exec", namespace, "sysctl", "-qw", *settings)
