"""What runs of it: the firewall's rules and sshd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def run(*command: str, given: str | None = None) -> tuple[int, str]:
    done = subprocess.run(
        command, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def ruleset() -> str | None:
    """The kernel's rules, without counters; None where there is no nft."""
    if not shutil.which("nft"):
        return None
    return run("nft", "--stateless", "list", "ruleset")[1]


def bring_back_rules(rules: str | None) -> list[str]:
    if rules is None or ruleset() == rules:
        return []
    status, output = run("nft", "-f", "-", given=f"flush ruleset\n{rules}\n")
    if status:  # there is something that nft lists but cannot read: what lies on the disk is the next best
        status, output = run("sh", "-c", "nft flush ruleset; nft -f /etc/nftables.conf")
    if status:
        return [f"the firewall: {output}"]
    return []


def bring_back_sshd(units: list[str], changed: bool) -> list[str]:
    """Have the units that were active read what is there again. Sessions live on."""
    problems = []
    for unit in units:
        if changed or run("systemctl", "is-active", unit)[0]:
            run("systemctl", "reset-failed", unit)
            status, output = run("systemctl", "restart", unit)
            if status:
                problems.append(f"{unit}: {output}")
    return problems


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
