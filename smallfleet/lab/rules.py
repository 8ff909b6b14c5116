"""The nftables rules of a lab, as text. Pure: nothing here touches the system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from smallfleet.lab.parts import DropletRules, MachineSpec, Rule


def machine_table(index: int, public_range: str, uplink: str) -> str:
    """The machine's table: what droplets send out is masqueraded, and nothing comes in to them from outside the machine."""
    return f"""
table ip smallfleet{index}
delete table ip smallfleet{index}
table ip smallfleet{index} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {public_range} oifname != "{uplink}" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname "{uplink}" ct state established,related accept
        oifname "{uplink}" drop
    }}
}}
"""


def router_table(
    machines: Mapping[int, MachineSpec], firewalls: Iterable[DropletRules], reserved: Mapping[str, int]
) -> str:
    """The router's table. A droplet that no firewall names is open; a private link leads to the same VPC only."""
    rules_of: dict[int, list[DropletRules]] = {}
    for firewall in firewalls:
        rules_of.setdefault(firewall.id, []).append(firewall)

    spoofed, borders, jumps, chains, dnat = [], [], [], [], []
    for id, spec in machines.items():
        spoofed.append(f'iifname "p{id}" ip saddr != {spec.public_address} drop')
        spoofed.append(f'iifname "v{id}" ip saddr != {spec.private_address} drop')
        peers = [other for other, peer in machines.items() if peer.vpc_id == spec.vpc_id and other != id]
        allowed = (
            f"oifname {{ {', '.join(f'{chr(34)}v{peer}{chr(34)}' for peer in peers)} }} " if peers else ""
        )
        if allowed:
            borders.append(f'iifname "v{id}" {allowed}goto firewalls')
        borders.append(f'iifname "v{id}" drop')
        if id in rules_of:
            for device in (f"p{id}", f"v{id}"):
                jumps.append(f'iifname "{device}" jump from{id}')
                jumps.append(f'oifname "{device}" jump to{id}')
            inbound = [rule for firewall in rules_of[id] for rule in firewall.inbound]
            outbound = [rule for firewall in rules_of[id] for rule in firewall.outbound]
            chains.append(_chain(f"to{id}", inbound, "saddr"))
            chains.append(_chain(f"from{id}", outbound, "daddr"))
    for address, id in reserved.items():
        if id in machines:
            dnat.append(f"ip daddr {address} dnat to {machines[id].public_address}")
    newline = "\n        "
    return f"""
table inet lab
delete table inet lab
table inet lab {{
{newline.join(chains)}
    chain firewalls {{
        ct state established,related accept
        {newline.join(jumps)}
        accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {newline.join(spoofed)}
        {newline.join(borders)}
        oifname "v*" drop
        goto firewalls
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        {newline.join(spoofed)}
        iifname "v*" drop
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        ct state established,related accept
        {newline.join(jump for jump in jumps if jump.startswith("oifname"))}
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {newline.join(dnat)}
    }}
}}
"""


def _chain(name: str, rules: Iterable[Rule], side: str) -> str:
    """One droplet's rules in one direction: what is allowed returns to the caller, the rest is dropped."""
    lines = []
    for rule in rules:
        for family, word in ((4, "ip"), (6, "ip6")):
            addresses = [address for address in rule.addresses if (":" in address) == (family == 6)]
            if not addresses:
                continue
            everywhere = any(address.endswith("/0") for address in addresses)
            place = (
                f"meta nfproto ipv{family}" if everywhere else f"{word} {side} {{ {', '.join(addresses)} }}"
            )
            if rule.protocol == "icmp":
                lines.append(f"{place} meta l4proto {'icmp' if family == 4 else 'icmpv6'} return")
            elif rule.ports == "all":
                lines.append(f"{place} meta l4proto {rule.protocol} return")
            else:
                lines.append(f"{place} {rule.protocol} dport {rule.ports} return")
    body = "\n        ".join([*lines, "drop"])
    return f"    chain {name} {{\n        {body}\n    }}"
