"""From a ref to a release that can be started: fetch, export, build, set up."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path

from smallfleet.programs.release.app import SERVERS, UNITS, App, ReleaseError
from smallfleet.programs.release.system import run, systemctl

UV = "/usr/local/bin/uv"
PYTHON = "/usr/bin/python3"
COMPLETE = ".complete"


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


def new_name(commit: str) -> str:
    """Releases' names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{commit[:8]}"


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
    """The release's venv and compiled modules, made by the app's user (a build runs others' code).

    Releases with the same requirements share a venv. What is made is root's: what runs cannot change itself.
    """
    requirements = directory / app.requirements
    if not requirements.is_file():
        raise ReleaseError(
            f"The app has no {app.requirements}; give app.requirements in roles/{app.name}.yml."
        )
    content = f"{sys.version}\0{requirements.read_text()}"
    venv = app.venvs / hashlib.sha256(content.encode()).hexdigest()[:16]
    if not (venv / COMPLETE).exists():
        make_venv(app, venv, requirements)
    (directory / ".venv").unlink(missing_ok=True)
    (directory / ".venv").symlink_to(venv)
    run(
        [PYTHON, "-m", "compileall", "-q", "-x", r"/\.venv/", directory],
        step="Compiling the app",
        user=app.name,
        cwd=directory,
    )
    give_to_root(app, directory)


def make_venv(app: App, venv: Path, requirements: Path) -> None:
    """A venv with exactly what is locked. Written last in it is COMPLETE."""
    shutil.rmtree(venv, ignore_errors=True)
    venv.mkdir(parents=True)
    shutil.chown(venv, app.name, app.name)
    quiet = [UV, "--quiet", "--no-progress"]
    run(
        [*quiet, "venv", "--no-python-downloads", "--allow-existing", "--python", PYTHON, venv],
        step="Making the venv",
        user=app.name,
        cwd=venv,
    )
    sync = ["pip", "sync", "--require-hashes", "--link-mode=copy", "--compile-bytecode"]
    run(
        [*quiet, *sync, "--python", venv / "bin/python", requirements],
        step=f"Installing {app.requirements}",
        user=app.name,
        cwd=venv,
    )
    if not (venv / "bin/uwsgi").exists():
        raise ReleaseError(f"The app's {app.requirements} has no uWSGI; add pyuwsgi to it and lock it again.")
    give_to_root(app, venv)
    (venv / COMPLETE).touch()


def give_to_root(app: App, directory: Path) -> None:
    step = "Taking the release from the app's user"
    run(["chown", "-R", f"root:{app.name}", directory], step=step)
    run(["chmod", "-R", "u=rwX,go=rX", directory], step=step)


def furnish(app: App, directory: Path) -> None:
    """Give the release its own copy of uWSGI's configuration and of its unit, as they are wanted now."""
    shutil.copyfile(SERVERS / f"{app.name}.ini", directory / ".release.ini")
    shutil.copyfile(UNITS / f"{app.name}@.service", UNITS / app.unit(directory.name))
    systemctl("daemon-reload", step="Reading the release's unit")


def set_up(app: App, directory: Path) -> None:
    """The app's own step before it serves, as its user and with its environment.

    systemd reads the environment, so that no secret stands in a command line."""
    if not app.setup:
        return
    properties = {
        "User": app.name,
        "Group": app.name,
        "EnvironmentFile": str(app.wanted_environment),
        "WorkingDirectory": str(directory),
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "RuntimeMaxSec": str(app.setup_seconds),
    }
    if app.files:
        properties["ReadWritePaths"] = app.files
    words = [f"--property={key}={value}" for key, value in properties.items()]
    path = f"{directory}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    run(
        ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *words, f"--setenv=PATH={path}",
         "/bin/sh", "-c", app.setup],
        step=f"The app's setup ({app.setup}; at most {app.setup_seconds:.0f} s)",
    )  # fmt: skip
