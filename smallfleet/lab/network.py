"""The lab's network: one router namespace, and two routed links from it to each droplet.

There is no bridge. The router answers ARP for every droplet (proxy ARP), so each packet between two droplets, on the public
network and on a VPC alike, passes the router's inet table: there cloud firewalls, VPC borders and source addresses are enforced
with connection tracking. The machine reaches the router by one veth pair, and masquerades what droplets send out.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from smallfleet.lab import rules
from smallfleet.lab.descriptor import RUNTIME, Lab
from smallfleet.lab.parts import DropletRules, MachineSpec
from smallfleet.lab.run import ip, run

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
FORWARD_BEFORE = RUNTIME / "ip_forward.before"


class LabNetwork:
    """The network of one lab. Its calls are idempotent; faults raise `LabError`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.machines: dict[int, MachineSpec] = {}
        self.firewalls: list[DropletRules] = []
        self.reserved: dict[str, int] = {}
        link = ipaddress.ip_network(f"198.19.{lab.index}.0/30")
        self.outside, self.inside = str(link[1]), str(link[2])
        self.uplink = f"sfup{lab.index}"

    def up(self) -> None:
        """Make the router namespace and its link to the machine."""
        space = self.lab.namespace
        if not Path("/run/netns", space).exists():
            ip("netns", "add", space)
        if not Path("/sys/class/net", self.uplink).exists():
            ip("link", "add", self.uplink, "type", "veth", "peer", "name", "up0", "netns", space)
        ip("address", "replace", f"{self.outside}/30", "dev", self.uplink)
        ip("link", "set", self.uplink, "up")
        ip("address", "replace", f"{self.inside}/30", "dev", "up0", namespace=space)
        # The gateway's own address, where the lab's DNS, ACME, archive and git answer.
        ip("link", "set", "lo", "up", namespace=space)
        ip("address", "replace", f"{self.lab.gateway}/32", "dev", "lo", namespace=space)
        ip("link", "set", "up0", "up", namespace=space)
        ip("route", "replace", "default", "via", self.outside, namespace=space)
        self._sysctl("net.ipv4.ip_forward=1")
        ip("route", "replace", self.lab.public_range, "via", self.inside, "dev", self.uplink)
        self._forward_on_machine()
        run("nft", "-f", "-", stdin=rules.machine_table(self.lab.index, self.lab.public_range, self.uplink))
        self.apply()

    def down(self) -> None:
        """Take everything away; the machine's ip_forward is as it was once the last lab is gone."""
        for id in list(self.machines):
            self.detach(id)
        run("nft", "delete", "table", "ip", f"smallfleet{self.lab.index}", check=False)
        ip("link", "delete", self.uplink, check=False)
        ip("netns", "delete", self.lab.namespace, check=False)
        if FORWARD_BEFORE.exists() and not list(Path("/sys/class/net").glob("sfup*")):
            FORWARD.write_text(FORWARD_BEFORE.read_text())
            FORWARD_BEFORE.unlink()

    def namespace_of(self, id: int) -> str:
        return f"{self.lab.namespace}-{id}"

    def attach(self, spec: MachineSpec) -> None:
        """Make the droplet's namespace with eth0 (public) and eth1 (private), both routed by the router."""
        space, router = self.namespace_of(spec.id), self.lab.namespace
        if not Path("/run/netns", space).exists():
            ip("netns", "add", space)
        ip("link", "set", "lo", "up", namespace=space)
        vpc = ipaddress.ip_network(spec.vpc_range)
        for device, port, address, length in (
            ("eth0", f"p{spec.id}", spec.public_address, 24),
            ("eth1", f"v{spec.id}", spec.private_address, vpc.prefixlen),
        ):
            if not ip("-o", "link", "show", port, namespace=router, check=False):
                ip(
                    "link",
                    "add",
                    port,
                    "netns",
                    router,
                    "type",
                    "veth",
                    "peer",
                    "name",
                    device,
                    "netns",
                    space,
                )
            ip("link", "set", port, "up", namespace=router)
            ip("address", "replace", f"{address}/{length}", "dev", device, namespace=space)
            ip("link", "set", device, "up", namespace=space)
            ip("route", "replace", f"{address}/32", "dev", port, namespace=router)
            self._sysctl(f"net.ipv4.conf.{port}.proxy_arp=1")
            # Answer at once: the delay is for proxies that share a wire with others.
            self._sysctl(f"net.ipv4.neigh.{port}.proxy_delay=0")
        ip("route", "replace", "default", "via", self.lab.gateway, "dev", "eth0", namespace=space)
        self.machines[spec.id] = spec
        self.apply()

    def reset(self, id: int) -> None:
        """What a power cycle clears: the nftables rules that the droplet had loaded."""
        run("ip", "netns", "exec", self.namespace_of(id), "nft", "flush", "ruleset")

    def detach(self, id: int) -> None:
        """Take the droplet off the network; its namespace and links go."""
        self.machines.pop(id, None)
        ip("netns", "delete", self.namespace_of(id), check=False)
        # The kernel removes a namespace's links later; named links of the router go now, so that the name is free.
        for port in (f"p{id}", f"v{id}"):
            ip("link", "delete", port, namespace=self.lab.namespace, check=False)
        self.reserved = {address: droplet for address, droplet in self.reserved.items() if droplet != id}
        self.apply()

    def apply_firewalls(self, rules: list[DropletRules]) -> None:
        self.firewalls = list(rules)
        self.apply()

    def assign_reserved_ip(self, address: str, droplet: int | None) -> None:
        if droplet is None:
            self.reserved.pop(address, None)
        else:
            self.reserved[address] = droplet
        self.apply()

    def apply(self) -> None:
        """Load the router's table in one transaction, from what is attached and allowed now."""
        table = rules.router_table(self.machines, self.firewalls, self.reserved)
        run("ip", "netns", "exec", self.lab.namespace, "nft", "-f", "-", stdin=table)

    def _sysctl(self, setting: str) -> None:
        name, value = setting.split("=")
        path = "/proc/sys/" + name.replace(".", "/")
        run("ip", "netns", "exec", self.lab.namespace, "sh", "-c", f"echo {value} > {path}")

    def _forward_on_machine(self) -> None:
        """Let the machine forward; what it was before is kept for `down`."""
        if FORWARD.read_text().strip() != "1":
            RUNTIME.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not FORWARD_BEFORE.exists():
                FORWARD_BEFORE.write_text(FORWARD.read_text())
            FORWARD.write_text("1\n")
