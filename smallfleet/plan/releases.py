"""Whether an app's release program will find something to do, once the operations before have run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.facts.files import FileContents, Sha256File

from smallfleet.plan.overlay import Overlay
from smallfleet.programs.release import pick_commit

# As programs/release.py has them: what of its specification a release is made of, …
INPUTS = ("repository", "requirements", "setup")


def files_of(app: str) -> list[str]:
    """… and the files."""
    units = [f"/etc/systemd/system/{app}{kind}" for kind in (".socket", "@.service", "-candidate@.service")]
    return [f"/etc/uwsgi/{app}.ini", f"/etc/smallfleet/apps/{app}.env", *units]


class RemoteReferences(FactBase):
    """What the repository at `url` has, as git ls-remote says it, asked from the droplet; "" if it cannot be."""

    def command(self, url: str) -> StringCommand:
        return StringCommand("GIT_TERMINAL_PROMPT=0", "git", "ls-remote", QuoteString(url), "||", "true")

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


def status(app: str, overlay: Overlay, now: dict[str, Any], ask: Callable[..., Any]) -> dict[str, Any]:
    """The fact ReleaseStatus as it will be: `now`, with what the overlay changes under the release."""
    if not now.get("release"):
        return now
    reasons = list(now["changed"])
    changed = [
        path
        for path in files_of(app)
        if path in overlay.paths and overlay.paths[path].digest("sha256") != ask(Sha256File, path=path)
    ]
    spec = f"/etc/smallfleet/apps/{app}.json"
    if spec in overlay.paths:
        said = json.loads(overlay.paths[spec].content or b"{}")
        lines = ask(FileContents, path=spec)
        was = json.loads("\n".join(lines)) if lines else {}
        changed += [key for key in INPUTS if said.get(key) != was.get(key)]
        if (said.get("repository"), said.get("ref")) != (was.get("repository"), was.get("ref")):
            listing = ask(RemoteReferences, url=said["repository"])
            commit = pick_commit(listing or "", said["ref"])
            reasons = [
                reason for reason in reasons if " is now " not in reason and " is not at " not in reason
            ]
            if commit is None or commit != now.get("commit"):
                reasons.append(f"{said['ref']} is now {commit[:8] if commit else 'unknown'}")
    if changed:
        reasons.append("its configuration changed")
    return {**now, "changed": reasons}
