"""The lab's git repositories: one bare repository per demo app, committed anew when its content changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

DEMO = Path(__file__).resolve().parents[2] / "demo"
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".venv")


def make(target: Path, source: Path = DEMO) -> list[str]:
    """Bring `target/NAME.git` up to date with each directory `source/NAME`; returns the names, sorted."""
    target.mkdir(parents=True, exist_ok=True)
    names = sorted(
        path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    )
    for name in names:
        push(source / name, target / f"{name}.git", "The demo app as the project has it")
    return names


def push(source: Path, repository: Path, message: str) -> str:
    """Make the content of `source` the newest commit of the bare repository's main, if it differs.

    Returns the commit. A lab's app gets a new version so:
    push(directory, Lab.load(name).repository("podcast"), "A new title")
    """
    if not repository.exists():
        run("git", "init", "-q", "--bare", "--initial-branch=main", str(repository))
    with tempfile.TemporaryDirectory(prefix="smallfleet-git-") as place:
        tree = Path(place, "tree")
        shutil.copytree(source, tree, ignore=IGNORED)
        git = ("git", f"--git-dir={repository}", f"--work-tree={tree}")
        environment = {
            **os.environ,
            "GIT_INDEX_FILE": str(Path(place, "index")),
            "GIT_AUTHOR_NAME": "smallfleet lab",
            "GIT_AUTHOR_EMAIL": "lab@example.com",
            "GIT_COMMITTER_NAME": "smallfleet lab",
            "GIT_COMMITTER_EMAIL": "lab@example.com",
            "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
            "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

        def ask(*words: str) -> str:
            done = subprocess.run(
                [*git, *words], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise LabError(f"git {words[0]} in {repository} failed: {done.stderr.strip()}")
            return done.stdout.strip()

        ask("add", "--all", "--force")
        tree_id = ask("write-tree")
        parents: list[str] = []
        if ask("for-each-ref", "refs/heads/main"):
            if ask("rev-parse", "main^{tree}") == tree_id:
                return ask("rev-parse", "main")
            parents = ["-p", ask("rev-parse", "main")]
        commit = ask("commit-tree", tree_id, *parents, "-m", message)
        ask("update-ref", "refs/heads/main", commit)
        return commit
