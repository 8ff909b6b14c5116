#!/usr/bin/env python3
"""Would this droplet come back from a reboot? Prints a JSON list of what would keep it from that, [] for yes.

What lies on the disk is looked at, not what runs: each program's own check of its configuration, and whether
systemd would start it. Changes nothing. Python's standard library only; Python 3.10+; as root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

APPS = Path("/etc/smallfleet/apps")
UNITS = Path("/etc/systemd/system")
NFTABLES = Path("/etc/nftables.conf")
MONGOD = Path("/etc/mongod.conf")
UNDO = Path("/var/lib/smallfleet/undo/pending.json")
LEAST_FREE = 64 * 2**20  # bytes on /: with less, programs that write at their start do not start
SECONDS = 30  # for one command

Problems = list[str]


def run(*command: str) -> tuple[int, str]:
    """Status and output of a command; 124 if it hangs, 127 if it is not there."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
    try:
        done = subprocess.run(
            command,
            cwd="/",  # systemd-analyze takes a unit's name for a file's where there is such a file
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {SECONDS} s"
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout


def words_of(output: str, lines: int = 3) -> str:
    """The last lines of an output as one line."""
    said = [line.strip() for line in output.splitlines() if line.strip() and not line.endswith("parsed OK")]
    return "; ".join(said[-lines:]) or "it does not say why"


def passes(what: str, *command: str) -> Problems:
    status, output = run(*command)
    return [f"{what}: {words_of(output)}"] if status else []


def starts(unit: str) -> Problems:
    """Whether systemd would start the unit at boot."""
    state = run("systemctl", "is-enabled", unit)[1].strip().splitlines()[-1:]
    if state and state[0] in ("enabled", "static", "generated", "alias", "indirect"):
        return []
    return [f"{unit} would not be started at boot: it is {state[0] if state else 'unknown'}"]


# ---- what is checked; each gives its problems


def packages() -> Problems:
    if not shutil.which("dpkg"):
        return []
    output = run("dpkg", "--audit")[1]
    return ["packages are installed by half: dpkg --configure -a"] if output.strip() else []


def disk() -> Problems:
    free = shutil.disk_usage("/").free
    return [f"the disk is full: {free // 2**20} MiB free on /"] if free < LEAST_FREE else []


def mounts() -> Problems:
    """fstab; findmnt only warns of a missing device, but the boot waits for it, and then gives up."""
    table = Path("/etc/fstab")
    lines = table.read_text().splitlines() if table.exists() else []
    entries = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        return []
    status, output = run("findmnt", "--verify")
    found = [line.strip() for line in output.splitlines() if "[E]" in line]
    for source, *rest in entries:
        options = rest[2].split(",") if len(rest) > 2 else []
        if source.startswith("/") and not Path(source).exists() and not {"noauto", "nofail"} & set(options):
            found.append(f"{source} is not there")
    if status and not found:
        found = [words_of(output)]
    return [f"/etc/fstab: {'; '.join(found)}"] if found else []


def ssh() -> Problems:
    if not shutil.which("sshd") and not Path("/usr/sbin/sshd").exists():
        return ["there is no sshd"]
    found = passes("sshd's configuration", "/usr/sbin/sshd", "-t")
    if starts("ssh.socket"):
        found += starts("ssh.service")
    return found


def sudo() -> Problems:
    return passes("sudo's configuration", "visudo", "-c") if shutil.which("visudo") else []


def firewall() -> Problems:
    if not shutil.which("nft") or not NFTABLES.exists() or "table" not in NFTABLES.read_text():
        return []
    if found := passes("the firewall's rules", "nft", "-c", "-f", str(NFTABLES)):
        return found
    return starts("nftables.service")


def nginx() -> Problems:
    if not shutil.which("nginx"):
        return []
    return passes("NGINX's configuration", "nginx", "-t", "-q") + starts("nginx.service")


def mongod() -> Problems:
    if not shutil.which("mongod"):
        return []
    found = passes("MongoDB's configuration", "mongod", "--config", str(MONGOD), "--outputConfig")
    return found + starts("mongod.service")


def apps() -> Problems:
    """Each app's socket and current release, and what that release needs to start."""
    found = []
    for spec in sorted(APPS.glob("*.json")):
        name = spec.stem
        current = Path("/srv") / name / "current"
        found += starts(f"{name}.socket")
        if not current.is_symlink():
            continue  # never released: there is nothing that would be lost
        unit = f"{name}@{current.readlink().name}.service"
        found += starts(unit)
        found += [f"{unit} needs {path}, which is not there" for path in needs(unit) if not path.exists()]
    return found


def needs(unit: str) -> list[Path]:
    """The files that systemd and uWSGI read when they start the unit."""
    said = run("systemctl", "show", "--property=EnvironmentFiles", "--property=ExecStart", unit)[1]
    patterns = (
        r"^EnvironmentFiles=(\S+) \(ignore_errors=no\)",
        r"^ExecStart=.*? path=(\S+)",
        r" --ini (\S+)",
    )
    return [Path(found[1]) for pattern in patterns for found in re.finditer(pattern, said, re.MULTILINE)]


def units() -> Problems:
    """The units that the fleet's programs run as; an app's template is tried as its current release."""
    names = [path.name for path in UNITS.glob("smallfleet-*.*") if path.is_file()]
    for spec in APPS.glob("*.json"):
        current = Path("/srv") / spec.stem / "current"
        names += [f"{spec.stem}.socket", f"{spec.stem}.service"]
        names += [f"{spec.stem}@{current.readlink().name}.service"] if current.is_symlink() else []
    names += [f"{name}.service" for name in ("nginx", "mongod") if shutil.which(name)]
    if not names:
        return []
    output = run("systemd-analyze", "verify", "--man=no", *sorted(names))[1]
    # Of what it says of those units and of files that are ours; packages' units have warnings of their own.
    ours = (*(f"{name}:" for name in names), f"{UNITS}/")
    found = dict.fromkeys(line.strip() for line in output.splitlines() if line.startswith(ours))
    return [f"systemd units: {line}" for line in found]


def failed_units() -> Problems:
    lines = run("systemctl", "list-units", "--state=failed", "--plain", "--no-legend")[1].splitlines()
    return [
        f"{line.split()[0]} has failed: journalctl -u {line.split()[0]}" for line in lines if line.strip()
    ]


def undo() -> Problems:
    return ["a change waits for its confirmation: a reboot would undo it"] if UNDO.exists() else []


CHECKS: list[Callable[[], Problems]] = [
    packages,
    disk,
    mounts,
    ssh,
    sudo,
    firewall,
    nginx,
    mongod,
    apps,
    units,
    failed_units,
    undo,
]


def main() -> int:
    problems: Problems = []
    for check in CHECKS:
        try:
            problems += check()
        except (OSError, ValueError) as error:
            problems.append(f"{check.__name__} could not be checked: {error}")
    print(json.dumps(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
