#!/usr/bin/env python3
"""A change that could lock the owner out is undone by the droplet, unless a fresh connection confirms it.

    arm ID --seconds N --what TEXT    remember how it is now, and go back to that in N seconds
    confirm ID                        the change stays; prints {"state": …, "problems": […]}
    state ID                          the same, and changes nothing
    now                               undo what waits for its confirmation, if anything does
    expire | boot                     for systemd: the time is up; the droplet was rebooted meanwhile

States: pending, confirmed, undone, failed (it was tried, and is tried again every 10 s), unknown. What is
remembered: sshd's configuration, users, their keys, sudo and the firewall, always all of it, in one file that
is written whole before the change begins. Installed as /usr/local/sbin/smallfleet-undo by its first `arm`.
Python's standard library only; Python 3.10+; as root.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path("/usr/local/sbin/smallfleet-undo")
ROOM = Path("/var/lib/smallfleet/undo")
UNITS = Path("/etc/systemd/system")
KEPT = 20  # results of earlier changes

# Directories whose files are all ours to bring back, and single files. Users' keys come on top.
DIRECTORIES = ["/etc/ssh", "/etc/sudoers.d"]
FILES = ["/etc/sudoers", "/etc/nftables.conf", "/etc/hosts.allow", "/etc/hosts.deny"]
FILES += [f"/etc/{name}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")]
KEYS = ("authorized_keys", "authorized_keys2")
LEFTOVERS = (".candidate", ".last")  # of an operation that is at work in the directory
SSH_UNITS = ["ssh.socket", "ssh.service", "sshd.service"]

TIMER = """[Unit]
Description=Undo a change that nobody confirms
[Timer]
OnActiveSec={seconds}s
AccuracySec=100ms
RemainAfterElapse=no
"""
SERVICE = f"""[Unit]
Description=Undo a change that nobody confirmed
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {PROGRAM} expire
Restart=on-failure
RestartSec=10
"""
# Before anything reads what it brings back.
BOOT = f"""[Unit]
Description=Undo a change that nobody had confirmed before the reboot
DefaultDependencies=no
ConditionPathExists={ROOM}/pending.json
After=local-fs.target
Before=sysinit.target network-pre.target nftables.service ssh.service ssh.socket shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {PROGRAM} boot
[Install]
WantedBy=sysinit.target
"""

Entry = dict[str, Any]  # kind, mode, uid, gid, and what is in it


def run(*command: str, given: str | None = None) -> tuple[int, str]:
    done = subprocess.run(
        command, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


# ---- files


def look(path: Path, shallow: bool = False) -> Entry | None:
    """What is at `path`; None if nothing is. `shallow`: who may use it, and not what is in it."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    entry: Entry = {"mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
    if stat.S_ISLNK(found.st_mode):
        return entry | {"kind": "link", "target": str(path.readlink())}
    if stat.S_ISDIR(found.st_mode):
        return entry | {"kind": "directory"}
    if stat.S_ISREG(found.st_mode) and not shallow:
        return entry | {"kind": "file", "content": base64.b64encode(path.read_bytes()).decode()}
    return None


def watched() -> list[Path]:
    """All paths that are remembered, and are there now; directories before what is in them."""
    paths = [Path(name) for name in FILES]
    for top in DIRECTORIES:
        paths.append(Path(top))
        paths += [path for path in sorted(Path(top).rglob("*")) if not path.name.endswith(LEFTOVERS)]
    for user in pwd.getpwall():
        home = Path(user.pw_dir)
        # sshd refuses keys in a home that others can write to, so the home's mode is remembered too.
        if (home / ".ssh").is_dir():
            paths += [home, home / ".ssh", *(home / ".ssh" / name for name in KEYS)]
    return [path for path in dict.fromkeys(paths) if look(path, shallow=True) or path.is_file()]


def remembered() -> dict[str, Entry]:
    entries = {str(path): look(path) for path in watched()}
    return {path: entry for path, entry in entries.items() if entry}


def bring_back(files: dict[str, Entry]) -> tuple[set[str], list[str]]:
    """Make the watched paths what `files` says; the paths that were changed, and what went wrong."""
    changed, problems = set(), []
    for path in [str(path) for path in reversed(watched()) if str(path) not in files]:
        try:
            if Path(path).is_dir() and not Path(path).is_symlink():
                if any(Path(path) == Path(top) or Path(top) in Path(path).parents for top in DIRECTORIES):
                    shutil.rmtree(path)
            else:
                Path(path).unlink()
                changed.add(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    for path, entry in files.items():
        try:
            if look(Path(path)) != entry:
                write(Path(path), entry)
                changed.add(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    return changed, problems


def write(path: Path, entry: Entry) -> None:
    """Put an entry in place, whole or not at all."""
    if entry["kind"] == "directory":
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, entry["uid"], entry["gid"])
        path.chmod(entry["mode"])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.undo")
    beside.unlink(missing_ok=True)
    if entry["kind"] == "link":
        beside.symlink_to(entry["target"])
    else:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64decode(entry["content"]))
            file.flush()
            os.fchown(descriptor, entry["uid"], entry["gid"])
            os.fchmod(descriptor, entry["mode"])
            os.fsync(descriptor)
    beside.replace(path)


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file of our own so that it is on the disk, whole, before anything else is done."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


# ---- what runs


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


# ---- the change that waits for its confirmation


def pending() -> dict[str, Any] | None:
    try:
        return dict(json.loads((ROOM / "pending.json").read_text()))
    except FileNotFoundError:
        return None


def record(change: dict[str, Any], state: str, why: str, problems: list[str]) -> None:
    """Keep what became of a change; what was remembered for it (hashes of passwords, too) goes."""
    results = ROOM / "results"
    results.mkdir(mode=0o700, exist_ok=True)
    result = {key: change[key] for key in ("id", "what", "seconds", "armed")}
    result |= {"state": state, "why": why, "problems": problems, "time": time.time()}
    write_whole(results / f"{change['id']}.json", json.dumps(result) + "\n")
    if state != "failed":
        (ROOM / "pending.json").unlink()
    for old in sorted(results.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink()


def answer(id: str) -> dict[str, Any]:
    path = ROOM / "results" / f"{id}.json"
    if path.exists():
        result = json.loads(path.read_text())
        return {key: result[key] for key in ("state", "why", "problems")}
    change = pending()
    state = "pending" if change and change["id"] == id else "unknown"
    return {"state": state, "why": "", "problems": []}


def install(seconds: int) -> None:
    """This program and its units, where they are not yet."""
    if Path(__file__).resolve() != PROGRAM:
        Path(__file__).chmod(0o755)
        Path(__file__).replace(PROGRAM)
    units = {"smallfleet-undo.timer": TIMER.format(seconds=seconds), "smallfleet-undo.service": SERVICE}
    units["smallfleet-undo-boot.service"] = BOOT
    wrong = {name: text for name, text in units.items() if not same(UNITS / name, text)}
    for name, text in wrong.items():
        write_whole(UNITS / name, text, 0o644)
    if wrong:
        check("systemctl", "daemon-reload")
    if not (UNITS / "sysinit.target.wants/smallfleet-undo-boot.service").is_symlink():
        check("systemctl", "enable", "--quiet", "smallfleet-undo-boot.service")


def same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def check(*command: str) -> None:
    status, output = run(*command)
    if status:
        raise SystemExit(f"{' '.join(command)}: {output}")


def arm(id: str, seconds: int, what: str) -> None:
    if earlier := pending():
        if problems := undo(earlier, "the next change came before it was confirmed"):
            raise SystemExit(
                "\n".join([f"An earlier change ({earlier['what']}) cannot be undone:", *problems])
            )
        print(f"An earlier change that nobody had confirmed is undone: {earlier['what']}.")
    install(seconds)
    change = {"id": id, "what": what, "seconds": seconds, "armed": time.time(), "boot": boot_id()}
    change["ssh"] = [unit for unit in SSH_UNITS if not run("systemctl", "is-active", "--quiet", unit)[0]]
    change |= {"files": remembered(), "ruleset": ruleset()}
    write_whole(ROOM / "pending.json", json.dumps(change))
    # Starts to count anew. Without it nothing would be undone, so nothing may be changed then.
    status, output = run("systemctl", "restart", "smallfleet-undo.timer")
    if status:
        (ROOM / "pending.json").unlink()
        raise SystemExit(f"The undo cannot be armed, so nothing was changed: {output}")


def confirm(id: str) -> None:
    change = pending()
    if change and change["id"] == id and answer(id)["state"] == "pending":
        record(change, "confirmed", "", [])
        run("systemctl", "stop", "smallfleet-undo.timer")


def undo(change: dict[str, Any], why: str) -> list[str]:
    """Go back to what was; what went wrong, if anything. One step that fails does not stop the others."""
    changed, problems = bring_back(change["files"])
    problems += bring_back_rules(change["ruleset"])
    problems += bring_back_sshd(change["ssh"], any(path.startswith("/etc/ssh") for path in changed))
    record(change, "failed" if problems else "undone", why, problems)
    run("systemctl", "stop", "smallfleet-undo.timer")
    return problems


def undo_at_boot(change: dict[str, Any]) -> None:
    """As `undo`, before anything has read the files. What fails is left to the service, which tries again."""
    _, problems = bring_back(change["files"])
    record(change, "failed" if problems else "undone", "the droplet was rebooted", problems)
    if problems:
        run("systemctl", "--no-block", "start", "smallfleet-undo.service")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="smallfleet-undo", description="Undo what nobody confirms.")
    parser.add_argument("verb", choices=["arm", "confirm", "state", "now", "expire", "boot"])
    parser.add_argument("id", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--what", default="a change")
    asked = parser.parse_args(arguments)
    ROOM.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone():
        change = pending()
        if asked.verb == "arm":
            arm(asked.id, asked.seconds, asked.what)
        elif asked.verb in ("confirm", "state"):
            if asked.verb == "confirm":
                confirm(asked.id)
            print(json.dumps(answer(asked.id)))
        elif asked.verb == "boot":
            if change and change["boot"] != boot_id():
                undo_at_boot(change)
        elif change:
            why = (
                f"nobody confirmed it within {change['seconds']} s"
                if asked.verb == "expire"
                else "on request"
            )
            problems = undo(change, why)
            print("\n".join([f"{change['what']}: {'undo failed' if problems else 'undone'}", *problems]))
            return 1 if problems else 0
    return 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A confirmation and an undo do not overlap: whichever comes first counts."""
    with (ROOM / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
