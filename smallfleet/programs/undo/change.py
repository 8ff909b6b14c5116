"""The change that waits for its confirmation."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from smallfleet.programs.undo.files import bring_back, remembered, write_whole
from smallfleet.programs.undo.running import boot_id, bring_back_rules, bring_back_sshd, ruleset, run

PROGRAM = Path("/usr/local/sbin/smallfleet-undo")
ROOM = Path("/var/lib/smallfleet/undo")
UNITS = Path("/etc/systemd/system")
KEPT = 20  # results of earlier changes
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
