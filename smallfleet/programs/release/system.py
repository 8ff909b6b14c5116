"""Commands, and the units that systemd runs."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

from smallfleet.programs.release.app import UNITS, App, ReleaseError

CGROUPS = Path("/sys/fs/cgroup")
WANTS = UNITS / "multi-user.target.wants"


def run(command: Sequence[object], *, step: str, user: str | None = None, cwd: Path | None = None) -> str:
    """Run one command, as `user` if given; its output. Raises ReleaseError with its last lines."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": os.environ.get("HOME", "/root"),
    }
    passed_on = (
        "UV_",
        "SSL_CERT_",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    )
    environment |= {key: value for key, value in os.environ.items() if key.startswith(passed_on)}
    as_user: dict[str, object] = {}
    if user is not None:
        entry = pwd.getpwnam(user)
        environment["HOME"] = f"/srv/{user}/.cache"
        as_user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **as_user,  # type: ignore[call-overload]
    )
    if done.returncode:
        raise ReleaseError(
            f"{step} failed (status {done.returncode}):\n{last_lines(done.stderr + done.stdout)}"
        )
    return str(done.stdout)


def last_lines(text: str, count: int = 25) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines()[-count:]) or "    (no output)"


def systemctl(*words: str, step: str) -> None:
    run(["systemctl", *words], step=step)


def systemctl_state(unit: str) -> str:
    done = subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def losses(unit: str) -> dict[str, int]:
    """How often this run of the unit was started anew, how many of its processes hit its memory limit, and
    whether it ended by a SIGKILL: its cgroup, and what that has counted, is gone then."""
    properties = "NRestarts,ControlGroup,ActiveState,ExecMainCode,ExecMainStatus"
    words = ["systemctl", "show", f"--property={properties}", unit]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    shown = dict(line.split("=", 1) for line in lines if "=" in line)
    group = shown.get("ControlGroup", "").lstrip("/")
    killed = 0
    # The first is where the unified hierarchy has the controller, the second where the old one has it.
    for file in (CGROUPS / group / "memory.events", CGROUPS / "memory" / group / "memory.oom_control"):
        if group and file.is_file():
            counts = dict(line.split() for line in file.read_text().splitlines())
            killed = max(killed, int(counts.get("oom_kill", 0)))
    died = shown.get("ExecMainCode") == "2" and shown.get("ExecMainStatus") == "9"  # CLD_KILLED, SIGKILL
    return {
        "restarts": int(shown.get("NRestarts") or 0),
        "out of memory": killed,
        "killed": int(died and shown.get("ActiveState") == "failed"),
    }


def journal(unit: str) -> str:
    """The last words of the unit, without uWSGI's lines on our own asking for its health."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
    command = ["journalctl", "--unit", unit, "--output", "cat", "--no-pager", "--lines", "200"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return "\n".join(line for line in lines if not (line.startswith("[pid: ") and "] 127.0.0.1 () {" in line))


def discard(unit: str, kill: bool = False) -> None:
    """Stop a unit that may not be running, and forget that it failed.

    `kill`: at once. One that is still starting would take SIGTERM for a reload, and nobody waits for what a
    candidate answers.
    """
    if kill:
        subprocess.run(["systemctl", "kill", "--signal=KILL", unit], capture_output=True, check=False)
    subprocess.run(["systemctl", "stop", unit], capture_output=True, check=False)
    subprocess.run(["systemctl", "reset-failed", unit], capture_output=True, check=False)


def enable(unit: str) -> None:
    """Let a boot start the unit: the link that `systemctl enable` makes, without its reload of all units."""
    WANTS.mkdir(exist_ok=True)
    point(WANTS / unit, UNITS / unit)


def disable(unit: str) -> None:
    """Let a boot not start the unit."""
    (WANTS / unit).unlink(missing_ok=True)


def point(link: Path, target: Path) -> None:
    """Point a symlink at its target in one step."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def running(app: App) -> list[str]:
    """The releases that run now, the current one and any that a cut-off deploy left."""
    pattern = f"{app.name}@*.service"
    words = [
        "systemctl",
        "list-units",
        "--plain",
        "--no-legend",
        "--state=active,activating,reloading",
        pattern,
    ]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line.split()[0].split("@", 1)[1].removesuffix(".service") for line in lines if line.strip()]


def enabled(app: App) -> set[str]:
    names = {path.name for path in WANTS.glob(f"{app.name}@*.service")}
    return {name.split("@", 1)[1].removesuffix(".service") for name in names}
