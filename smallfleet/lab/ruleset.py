"""The router's nftables rules, from data: spoofing, VPC borders, cloud firewalls, reserved IPs. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smallfleet.lab.parts import DropletRules, Rule


@dataclass(frozen=True)
class Port:
    """A droplet's two places on the router, `pubID` and `priID`."""

    id: int
    public: str
    private: str
    vpc: str


def router_ruleset(
    ports: Sequence[Port], firewalls: Sequence[DropletRules], reserved: Mapping[str, str]
) -> str:
    """A script for `nft -f` that replaces the table in one step.

    `reserved` maps reserved addresses to the public addresses that they lead to.
    """
    sources = [f'"pub{p.id}" . {p.public}' for p in ports] + [f'"pri{p.id}" . {p.private}' for p in ports]
    vpcs: dict[str, list[str]] = {}
    for port in ports:
        vpcs.setdefault(port.vpc, []).append(f'"pri{port.id}"')
    borders = [f"iifname {_set(links)} oifname {_set(links)} return" for links in vpcs.values()]
    out_of = [f'"{way}{f.id}" : jump out_{f.id}' for f in firewalls for way in ("pub", "pri")]
    into = [f'"{way}{f.id}" : jump in_{f.id}' for f in firewalls for way in ("pub", "pri")]
    lines = [
        "table inet smallfleet {}",
        "delete table inet smallfleet",
        "table inet smallfleet {",
        *(line for f in firewalls for line in _chain(f"in_{f.id}", f.inbound, "saddr")),
        *(line for f in firewalls for line in _chain(f"out_{f.id}", f.outbound, "daddr")),
        "set sources { type ifname . ipv4_addr;"
        + (f" elements = {_set(sources)};" if sources else "")
        + " }",
        "chain spoofed {",
        'iifname { "pub*", "pri*" } meta nfproto ipv6 drop',
        'iifname { "pub*", "pri*" } iifname . ip saddr != @sources drop',
        "}",
        "chain border {",
        *borders,
        'iifname "pri*" drop',
        'oifname "pri*" drop',
        "}",
        "chain forward { type filter hook forward priority filter; policy accept;",
        "jump spoofed",
        "ct state established,related accept",
        "ct state invalid drop",
        "jump border",
        f"iifname vmap {_set(out_of)}" if out_of else "",
        f"oifname vmap {_set(into)}" if into else "",
        "}",
        "chain input { type filter hook input priority filter; policy accept;",
        "jump spoofed",
        "ct state established,related accept",
        'iifname "pri*" drop',
        f"iifname vmap {_set(out_of)}" if out_of else "",
        "}",
        "chain output { type filter hook output priority filter; policy accept;",
        "ct state established,related accept",
        'oifname "pri*" drop',
        f"oifname vmap {_set(into)}" if into else "",
        "}",
    ]
    if reserved:
        lead = _set([f"{address} : {public}" for address, public in sorted(reserved.items())])
        lines += [
            "chain prerouting { type nat hook prerouting priority dstnat; policy accept;",
            f"dnat ip to ip daddr map {lead}",
            "}",
            "chain locally { type nat hook output priority -100; policy accept;",
            f"dnat ip to ip daddr map {lead}",
            "}",
        ]
    return "\n".join(line for line in [*lines, "}"] if line) + "\n"


def _chain(name: str, rules: Sequence[Rule], side: str) -> list[str]:
    allowed = [line for rule in rules for line in _rule(rule, side)]
    return [f"chain {name} {{", *allowed, "drop", "}"]


def _rule(rule: Rule, side: str) -> list[str]:
    """What one rule lets pass; the lab has no IPv6, so a rule with such addresses alone says nothing."""
    networks = [ipaddress.ip_network(address, strict=False) for address in rule.addresses]
    wanted = ipaddress.collapse_addresses([n for n in networks if isinstance(n, ipaddress.IPv4Network)])
    four = [str(network) for network in wanted]
    if not four:
        return []
    if rule.protocol == "icmp":
        what = "meta l4proto icmp"
    elif rule.ports in ("all", "0", ""):
        what = f"meta l4proto {rule.protocol}"
    else:
        what = f"{rule.protocol} dport {rule.ports}"
    return [f"ip {side} {_set(four)} {what} return"]


def _set(items: Sequence[str]) -> str:
    return "{ " + ", ".join(items) + " }"
