#!/usr/bin/env python3
"""The updates of this droplet (the patch deploy sends it along; nothing is installed).

    plan [--refresh] [--security-only]    one JSON object, see `plan`
    download [--security-only]            fetch what `install` needs, so that installing is short
    install [--security-only]             install; no service is restarted by that
    restart                               restart the services that run with what was replaced

A reboot is needed where the distribution says so (/run/reboot-required), where the kernel that runs is not
the newest installed one, or where what cannot be restarted under a running system runs with replaced files:
PID 1 and D-Bus. needrestart finds these. All of it is read from the droplet each time, so that a patch day
that was cut off goes on where it was. Python's standard library only. Python 3.10+.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REQUIRED = Path("/run/reboot-required")
LISTS = Path("/var/lib/apt/periodic/update-success-stamp"), Path("/var/lib/apt/lists")
INFO = Path("/var/lib/dpkg/info")
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_MARK = "# smallfleet-patch"
FRESH = 3600  # seconds; packages' lists that are older are fetched anew
MANAGER = "systemd-manager"  # needrestart's word for PID 1
NOT_ALONE = {MANAGER: "systemd (PID 1)", "dbus.service": "D-Bus", "dbus-broker.service": "D-Bus"}
APT = (
    "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600",
    "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip
INST = re.compile(r"^Inst (\S+) (?:\[(\S+)\] )?\((\S+) (.*?) ?\[\S+\]\)")


class Failure(Exception):
    """What the owner is told."""


def run(*command: str, check: bool = True) -> str:
    """The output of a command. Failure with its last lines, where it does not end with 0."""
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_SUSPEND": "1",  # its hook in apt; it is asked afterwards
    }
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if check and done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise Failure(f"{' '.join(command[:1])} failed (status {done.returncode}):\n" + "\n".join(lines))
    return done.stdout


# ---- what is pending


def parse_updates(simulation: str) -> list[dict[str, Any]]:
    """The updates in the output of `apt-get -s upgrade`: name, from, to, sources, security."""
    found = []
    for line in simulation.splitlines():
        if match := INST.match(line):
            name, old, new, origin = match.groups()
            sources = [source.strip() for source in origin.split(",")]
            security = any("security" in source.lower() for source in sources)
            found.append({"name": name, "from": old, "to": new, "sources": sources, "security": security})
    return sorted(found, key=lambda update: str(update["name"]))


def pending(security_only: bool) -> list[dict[str, Any]]:
    updates = parse_updates(run(*APT, "-s", "--with-new-pkgs", "upgrade"))
    return [update for update in updates if update["security"] or not security_only]


def refresh() -> None:
    """Fetch the packages' lists, unless that was done a short while ago."""
    newest = max((path.stat().st_mtime for path in LISTS if path.exists()), default=0.0)
    if time.time() - newest > FRESH:
        run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=600", "update")


# ---- what has to be restarted


def parse_needrestart(output: str) -> tuple[list[str], list[str]]:
    """(reasons for a reboot, services to restart) from `needrestart -b`."""
    reasons, services, kernel = [], [], {}
    for line in output.splitlines():
        key, _, value = line.partition(": ")
        if key in ("NEEDRESTART-KSTA", "NEEDRESTART-KCUR", "NEEDRESTART-KEXP"):
            kernel[key[-4:]] = value
        elif key == "NEEDRESTART-SVC" and value in NOT_ALONE:
            reasons.append(f"{NOT_ALONE[value]} runs with files that were replaced")
        elif key == "NEEDRESTART-SVC" and not value.startswith(("user@", "getty@", "serial-getty@")):
            services.append(value)
    if kernel.get("KSTA") in ("2", "3"):  # 1: the newest runs; 0: unknown, as in a container
        reasons.insert(0, f"the kernel {kernel.get('KEXP')} is installed, {kernel.get('KCUR')} runs")
    return reasons, sorted(set(services))


def needs() -> tuple[list[str], list[str]]:
    """(reasons for a reboot, services to restart) as the droplet is now."""
    try:
        reasons, services = parse_needrestart(run("needrestart", "-b", "-r", "l"))
    except FileNotFoundError:
        raise Failure("needrestart is not installed: run deploys/base.py first") from None
    if REQUIRED.exists():
        packages = Path(f"{REQUIRED}.pkgs")
        words = ", ".join(sorted(set(packages.read_text().split()))) if packages.exists() else ""
        reasons.insert(0, f"{words or 'the distribution'} wants it (/run/reboot-required)")
    return reasons, services


def unit_of(cgroup: str) -> str | None:
    """The unit that a process belongs to, from its /proc/PID/cgroup; None for sessions."""
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controllers == "name=systemd":
            parts = [part for part in path.split("/") if part]
            if parts[:1] == ["init.scope"]:
                return MANAGER
            units = [part for part in parts if part.endswith(".service")]
            if units and parts[0] == "system.slice":
                return units[0]
    return None


def mapped() -> dict[str, set[str]]:
    """The files that each unit's processes run with: {unit: paths}, links in directories followed."""
    found: dict[str, set[str]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            unit = unit_of((process / "cgroup").read_text())
            lines = (process / "maps").read_text().splitlines() if unit else []
        except OSError:
            continue  # it has ended
        if unit:
            files = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
            found.setdefault(unit, set()).update(files)
    return found


def files_of(package: str) -> set[str]:
    """The files of an installed package, by the paths that processes show them under."""
    lists = [
        INFO / f"{package}.list",
        *INFO.glob(f"{package}:*.list"),
    ]  # the second if it is for several machines
    files = set()
    for path in (line for file in lists if file.exists() for line in file.read_text().splitlines()):
        parent, _, name = path.rpartition("/")
        files.add(f"{real(parent)}/{name}")
    return files


@functools.cache
def real(directory: str) -> str:
    """The directory with links followed (/lib is /usr/lib), without a slash at its end."""
    return os.path.realpath(directory or "/").rstrip("/")


def foreseen(updates: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """As `needs`, for when the updates will be in: who runs with files of theirs."""
    runs = mapped()
    reasons: dict[str, list[str]] = {}
    services = set()
    for update in updates:
        if str(update["name"]).startswith("linux-image"):
            reasons.setdefault("the kernel", []).append(str(update["name"]))
        files = files_of(str(update["name"]))
        for unit, paths in runs.items():
            if not files.isdisjoint(paths):
                if unit in NOT_ALONE:
                    reasons.setdefault(NOT_ALONE[unit], []).append(str(update["name"]))
                elif not unit.startswith(("user@", "getty@", "serial-getty@")):
                    services.add(unit)
    return [f"{what}: {', '.join(names)}" for what, names in reasons.items()], sorted(services)


def boot_seconds() -> float:
    """How long the last boot took."""
    keys = "FirmwareTimestampMonotonic", "UserspaceTimestampMonotonic", "FinishTimestampMonotonic"
    shown = run("systemctl", "show", *(f"--property={key}" for key in keys), check=False)
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    firmware, userspace, finish = (int(said.get(key) or 0) for key in keys)
    if run("systemd-detect-virt", "--container", check=False).strip() not in ("", "none"):
        firmware, begin = 0, userspace  # the kernel is its host's
    else:
        begin = 0
    return round(max(0, finish - begin + firmware) / 1e6, 1)


def plan(security_only: bool) -> dict[str, Any]:
    """{pending, reboot, restart, then_reboot, then_restart, boot}: what is pending, why a reboot is due and
    which services are to be restarted now, the same as foreseen for after the updates, and how many seconds
    the last boot took."""
    updates = pending(security_only)
    reboot, restart = needs()
    then_reboot, then_restart = foreseen(updates)
    return {
        "pending": updates,
        "reboot": reboot,
        "restart": restart,
        "then_reboot": [*reboot, *then_reboot],
        "then_restart": sorted({*restart, *then_restart}),
        "boot": boot_seconds(),
    }


# ---- doing it


def arguments_for(security_only: bool) -> list[str]:
    if not security_only:
        return ["--with-new-pkgs", "upgrade"]
    return ["--only-upgrade", "install", *(f"{one['name']}={one['to']}" for one in pending(True))]


def install(security_only: bool) -> None:
    """Install the updates, and let no package restart a service: that has its own time."""
    if POLICY.exists() and POLICY_MARK not in POLICY.read_text():
        run(*APT, *arguments_for(security_only))  # somebody else's policy, which stays
        return
    # It forbids nothing any more when this process is gone, however it goes.
    POLICY.write_text(
        f"#!/bin/sh\n{POLICY_MARK}: no service is restarted while updates are installed\n"
        f"[ ! -d /proc/{os.getpid()} ] || exit 101\n"
    )
    POLICY.chmod(0o755)
    try:
        run(*APT, *arguments_for(security_only))
    finally:
        POLICY.unlink(missing_ok=True)


def restart() -> None:
    _, services = needs()
    for service in services:
        run("systemctl", "restart", service)
        print(f"restarted {service}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="smallfleet-patch", description="Updates of this droplet.")
    parser.add_argument("verb", choices=["plan", "download", "install", "restart"])
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--security-only", action="store_true")
    wanted = parser.parse_args(arguments)
    try:
        if wanted.refresh:
            refresh()
        if wanted.verb == "plan":
            print(json.dumps(plan(wanted.security_only)))
        elif wanted.verb == "download":
            run(*APT, "--download-only", *arguments_for(wanted.security_only))
        elif wanted.verb == "install":
            install(wanted.security_only)
        else:
            restart()
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
