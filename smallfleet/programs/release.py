#!/usr/bin/env python3
"""A release of an app is a transaction on its droplet (installed as /usr/local/sbin/smallfleet-release).

    smallfleet-release deploy NAME     build, try, switch; if anything fails the old one stays (status 1)
    smallfleet-release status NAME     one JSON object: what runs, and whether a deploy would change it

What to release is in /etc/smallfleet/apps/NAME.json (not secret):

    {"name", "repository", "ref", "requirements", "setup", "health", "keep", "domain", "files"}

The steps of a deploy, in order: fetch, export, build, setup, try (the candidate unit, which has a private
socket only), switch (the new release joins the shared socket, which systemd holds; then the old one ends
gracefully), prune. Python's standard library only, since nothing else is on a new droplet. Python 3.10+.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

APPS = Path("/etc/smallfleet/apps")
UNITS = Path("/etc/systemd/system")
OTHERS = 300.0  # seconds that another release of the same app may take
LOCKS = Path("/run")
UV = "/usr/local/bin/uv"
PYTHON = "/usr/bin/python3"
HEALTH_SECONDS = 60.0  # in all, for an app to load and answer; a worker imports its app before it accepts


class ReleaseError(Exception):
    """A release that was given up: what failed, and the last words of what failed."""


@dataclass(frozen=True)
class App:
    """What is to be released, and where it lives."""

    name: str
    repository: str
    ref: str
    requirements: str
    health: str
    keep: int
    domain: str
    setup: str | None = None
    files: str | None = None  # the directory of big files, which setup may write to

    @classmethod
    def load(cls, name: str) -> App:
        path = APPS / f"{name}.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise ReleaseError(
                f"There is no app {name} here ({path}); run deploys/webapp.py first."
            ) from None
        except (TypeError, ValueError) as error:
            raise ReleaseError(f"{path} cannot be used: {error}") from None

    @property
    def root(self) -> Path:
        return Path("/srv") / self.name

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def mirror(self) -> Path:
        return self.root / "repository"

    @property
    def link(self) -> Path:
        return self.root / "current"

    def unit(self, release: str) -> str:
        return f"{self.name}@{release}.service"

    def candidate(self, release: str) -> str:
        return f"{self.name}-candidate@{release}.service"

    def inputs(self) -> str:
        """Digest of all that a release depends on besides its commit."""
        files = [
            Path("/etc/uwsgi") / f"{self.name}.ini",
            APPS / f"{self.name}.env",
            *(UNITS / f"{self.name}{kind}" for kind in (".socket", "@.service", "-candidate@.service")),
        ]
        digest = hashlib.sha256(f"{self.repository}\0{self.requirements}\0{self.setup}\0".encode())
        for file in files:
            digest.update(file.read_bytes() if file.is_file() else b"(missing)")
            digest.update(b"\0")
        return digest.hexdigest()


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


# ---- asking an app for its health, in uwsgi's protocol


def packet(variables: dict[str, str]) -> bytes:
    """A uwsgi request: a 4-byte header (modifiers 0, size), then each key and value after its length."""
    body = b""
    for key, value in variables.items():
        for text in (key.encode(), value.encode()):
            body += struct.pack("<H", len(text)) + text
    return struct.pack("<BHB", 0, len(body), 0) + body


def status_of(answer: bytes) -> int:
    """The status in an answer ("HTTP/1.1 200 OK"); 0 if there is none."""
    words = answer.split(b"\r\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def ask(path: Path, url: str, domain: str, seconds: float) -> int:
    """GET `url` from the app behind the unix socket `path`; its status. Raises OSError."""
    route, _, query = url.partition("?")
    request = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": url,
        "PATH_INFO": route,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": domain,
        "SERVER_PORT": "443",
        "HTTP_HOST": domain,
        "HTTP_USER_AGENT": "smallfleet-release",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_SCHEME": "https",
        "HTTPS": "on",
        "CONTENT_LENGTH": "",
        "CONTENT_TYPE": "",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(packet(request))
        answer = b""
        while b"\r\n" not in answer:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    return status_of(answer)


def wait_healthy(app: App, unit: str, path: Path) -> None:
    """Wait until the release behind `path` answers 200. Raises ReleaseError, with the unit's last words."""
    end = time.monotonic() + HEALTH_SECONDS
    seen = "no answer"
    while time.monotonic() < end:
        if systemctl_state(unit) in ("failed", "inactive"):
            seen = "it ended by itself"
            break
        try:
            status = ask(path, app.health, app.domain, max(0.1, end - time.monotonic()))
            if status == 200:
                return
            seen = f"answered {status or 'nothing'}"
        except OSError as error:
            seen = str(error)
        time.sleep(0.1)
    raise ReleaseError(f"{unit} is not healthy ({app.health}: {seen}):\n{last_lines(journal(unit))}")


# ---- systemd


def systemctl(*words: str, step: str) -> None:
    run(["systemctl", *words], step=step)


def systemctl_state(unit: str) -> str:
    done = subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def journal(unit: str) -> str:
    """The last words of this run of the unit."""
    command = ["journalctl", "--unit", unit, "--output", "cat", "--no-pager", "--lines", "40"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def discard(unit: str) -> None:
    """Stop a unit that may not be running, and forget that it failed."""
    subprocess.run(["systemctl", "stop", unit], capture_output=True, check=False)
    subprocess.run(["systemctl", "reset-failed", unit], capture_output=True, check=False)


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


# ---- the steps


def remote_commit(app: App) -> str | None:
    """The commit that the ref names at its origin; None if it has no such ref. A commit names itself."""
    if len(app.ref) == 40 and all(letter in "0123456789abcdef" for letter in app.ref):
        return app.ref
    listing = run(
        ["git", "ls-remote", "--", app.repository, app.ref, f"{app.ref}^{{}}"],
        step=f"Asking {app.repository} for {app.ref}",
    )
    return pick_commit(listing, app.ref)


def pick_commit(listing: str, ref: str) -> str | None:
    """From `git ls-remote`: an annotated tag's commit, else the tag, else the branch."""
    found = {
        name: commit
        for commit, name in (line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    }
    wanted = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", ref)
    return next((found[name] for name in wanted if name in found), None)


def fetch(app: App) -> str:
    """Bring the mirror up to date; the commit that the ref names."""
    if not (app.mirror / "HEAD").exists():
        shutil.rmtree(app.mirror, ignore_errors=True)
        run(["git", "init", "--quiet", "--bare", app.mirror], step="Making the repository")
        app.mirror.chmod(0o700)
    refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    run(
        ["git", "-C", app.mirror, "fetch", "--quiet", "--force", "--prune", "--", app.repository, *refs],
        step=f"Fetching {app.repository}",
    )
    commit = ["git", "-C", app.mirror, "rev-parse", "--verify", "--quiet", f"{app.ref}^{{commit}}"]
    return run(commit, step=f"Finding {app.ref} in {app.repository}").strip()


def export(app: App, commit: str, release: str) -> Path:
    """The files of the commit in a directory of their own, for the app's user until it is built."""
    directory = app.releases / release
    directory.mkdir(parents=True)
    archive = app.root / f".{release}.tar"
    try:
        run(["git", "-C", app.mirror, "archive", "--output", archive, commit], step="Exporting the commit")
        run(["tar", "--extract", "--file", archive, "--directory", directory], step="Exporting the commit")
    finally:
        archive.unlink(missing_ok=True)
    run(["chown", "-R", f"{app.name}:{app.name}", directory], step="Exporting the commit")
    return directory


def build(app: App, directory: Path) -> None:
    """The release's own venv, made by the app's user (a build runs others' code), then given to root."""
    requirements = directory / app.requirements
    if not requirements.is_file():
        raise ReleaseError(
            f"The app has no {app.requirements}; give app.requirements in roles/{app.name}.yml."
        )
    venv = directory / ".venv"
    quiet = [UV, "--quiet", "--no-progress"]
    run(
        [*quiet, "venv", "--no-python-downloads", "--python", PYTHON, venv],
        step="Making the venv",
        user=app.name,
        cwd=directory,
    )
    sync = ["pip", "sync", "--require-hashes", "--link-mode=copy", "--compile-bytecode"]
    run(
        [*quiet, *sync, "--python", venv / "bin/python", requirements],
        step=f"Installing {app.requirements}",
        user=app.name,
        cwd=directory,
    )
    if not (venv / "bin/uwsgi").exists():
        raise ReleaseError(f"The app's {app.requirements} has no uWSGI; add pyuwsgi to it and lock it again.")
    run(
        [PYTHON, "-m", "compileall", "-q", "-x", r"/\.venv/", directory],
        step="Compiling the app",
        user=app.name,
        cwd=directory,
    )
    # What runs cannot change itself.
    run(["chown", "-R", f"root:{app.name}", directory], step="Taking the release from the app's user")
    run(["chmod", "-R", "u=rwX,go=rX", directory], step="Taking the release from the app's user")


def set_up(app: App, directory: Path) -> None:
    """The app's own step before it serves, as its user and with its environment.

    systemd reads the environment, so that no secret stands in a command line."""
    if not app.setup:
        return
    properties = {
        "User": app.name,
        "Group": app.name,
        "EnvironmentFile": str(APPS / f"{app.name}.env"),
        "WorkingDirectory": str(directory),
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "RuntimeMaxSec": "600",
    }
    if app.files:
        properties["ReadWritePaths"] = app.files
    words = [f"--property={key}={value}" for key, value in properties.items()]
    path = f"{directory}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    run(
        ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *words, f"--setenv=PATH={path}",
         "/bin/sh", "-c", app.setup],
        step=f"The app's setup ({app.setup})",
    )  # fmt: skip


def try_out(app: App, release: str) -> None:
    """Start the release beside the running one, on a private socket only, and ask for its health."""
    unit = app.candidate(release)
    try:
        try:
            systemctl("start", unit, step="Starting the candidate")
        except ReleaseError as error:
            raise ReleaseError(f"{error}\n{last_lines(journal(unit))}") from None
        wait_healthy(app, unit, Path("/run") / app.name / f"candidate-{release}" / "uwsgi.sock")
    finally:
        discard(unit)


def switch(app: App, release: str) -> None:
    """Let the release join the shared socket, point `current` at it, and end the others gracefully."""
    unit = app.unit(release)
    others = [other for other in running(app) if other != release]
    try:
        systemctl("start", f"{app.name}.socket", step="Opening the app's socket")
        systemctl("start", unit, step="Starting the release")
        wait_healthy(app, unit, Path("/run") / app.name / release / "uwsgi.sock")
        systemctl("enable", "--quiet", unit, step="Enabling the release")
    except ReleaseError as error:
        words = f"{error}\n{last_lines(journal(unit))}"
        subprocess.run(["systemctl", "disable", "--quiet", unit], capture_output=True, check=False)
        discard(unit)
        raise ReleaseError(words) from None
    point(app.link, Path("releases") / release)
    for other in enabled(app) - {release}:
        systemctl("disable", "--quiet", app.unit(other), step="Disabling the old release")
    for other in others:
        systemctl("stop", app.unit(other), step="Stopping the old release")


def point(link: Path, target: Path) -> None:
    """Point a symlink at its target in one step."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def enabled(app: App) -> set[str]:
    wants = UNITS / "multi-user.target.wants"
    names = {path.name for path in wants.glob(f"{app.name}@*.service")}
    return {name.split("@", 1)[1].removesuffix(".service") for name in names}


def clear_leftovers(app: App) -> None:
    """Remove what a deploy that was killed left: its candidate, and its directory."""
    current = app.link.readlink().name if app.link.is_symlink() else None
    for directory in app.releases.iterdir():
        if directory.name != current and not (directory / ".release.json").exists():
            # One that was still starting would take SIGTERM for a reload, and nobody waits for its answers.
            kill = ["systemctl", "kill", "--signal=KILL", app.candidate(directory.name)]
            subprocess.run(kill, capture_output=True, check=False)
            discard(app.candidate(directory.name))
            discard(app.unit(directory.name))
            shutil.rmtree(directory)
    for archive in app.root.glob(".*.tar"):
        archive.unlink()


def prune(app: App, current: str) -> None:
    """Remove all but the newest `keep` releases; the current one always stays."""
    for release in stale(sorted(path.name for path in app.releases.iterdir()), current, app.keep):
        discard(app.unit(release))
        shutil.rmtree(app.releases / release)


def stale(releases: Sequence[str], current: str, keep: int) -> list[str]:
    """Of releases from old to new, those that go. `keep` counts the current one."""
    others = [release for release in releases if release != current]
    return others[: max(0, len(others) - max(0, keep - 1))]


# ---- the verbs


def record(app: App) -> dict[str, str]:
    """What the current release was made from; empty if there is none."""
    try:
        return dict(json.loads((app.link / ".release.json").read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


def status(app: App) -> dict[str, object]:
    """`changed` says why a deploy would do work; empty when it would not."""
    now = record(app)
    release = now.get("release")
    try:
        commit, trouble = remote_commit(app), None
    except ReleaseError as error:
        commit, trouble = None, str(error)
    reasons = []
    if release is None:
        reasons.append("there is no release yet")
    else:
        if commit is not None and commit != now.get("commit"):
            reasons.append(f"{app.ref} is now {commit[:8]}")
        if commit is None and trouble is None:
            reasons.append(f"{app.ref} is not at {app.repository}")
        if app.inputs() != now.get("inputs"):
            reasons.append("its configuration changed")
        if running(app) != [release] or enabled(app) != {release}:
            reasons.append("the current release is not the one that runs")
    return {
        "release": release,
        "commit": now.get("commit"),
        "remote": commit,
        "trouble": trouble,
        "changed": reasons,
    }


def deploy(app: App) -> str:
    """Release what the ref names now; the release's name. On ReleaseError the old one serves on."""
    inputs = app.inputs()
    clear_leftovers(app)
    commit = fetch(app)
    release = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{commit[:8]}"
    directory = export(app, commit, release)
    try:
        build(app, directory)
        set_up(app, directory)
        note = {"release": release, "commit": commit, "inputs": inputs}
        try_out(app, release)
        # Written last: it says that the release is whole and was healthy.
        (directory / ".release.json").write_text(json.dumps(note) + "\n")
        switch(app, release)
    except BaseException:
        if not (app.link.is_symlink() and app.link.readlink().name == release):
            shutil.rmtree(directory, ignore_errors=True)
        raise
    prune(app, release)
    return release


@contextlib.contextmanager
def alone(app: App) -> Iterator[None]:
    """One deploy of an app at a time; the lock goes with the process.

    What a run that was cut off has begun here is waited for.
    """
    end = time.monotonic() + OTHERS
    with (LOCKS / f"smallfleet-release-{app.name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    message = f"{app.name} is being released already; wait until that is done."
                    raise ReleaseError(message) from None
            time.sleep(0.2)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="smallfleet-release", description="Release an app on this droplet.")
    parser.add_argument("verb", choices=["deploy", "status"])
    parser.add_argument("app")
    wanted = parser.parse_args(arguments)
    try:
        app = App.load(wanted.app)
        if wanted.verb == "status":
            print(json.dumps(status(app)))
            return 0
        with alone(app):
            print(f"{app.name}: release {deploy(app)} serves.")
    except ReleaseError as error:
        print(f"{wanted.app}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
