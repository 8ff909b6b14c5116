"""What an app's release program says about the app."""

from __future__ import annotations

import json
import shlex
from typing import Any

from pyinfra.api import FactBase

PROGRAM = "/usr/local/sbin/smallfleet-release"


class ReleaseStatus(FactBase):
    """`smallfleet-release status NAME`: {release, commit, remote, trouble, changed}; {} on a new droplet."""

    default = dict

    def command(self, app: str) -> str:
        spec = shlex.quote(f"/etc/smallfleet/apps/{app}.json")
        status = f"{PROGRAM} status {shlex.quote(app)}"
        return f"if [ -x {PROGRAM} ] && [ -f {spec} ]; then {status}; else echo '{{}}'; fi"

    def process(self, output: list[str]) -> dict[str, Any]:
        return dict(json.loads("\n".join(output)))


class ServingRelease(FactBase):
    """The release that `current` names, as it says of itself, with the `state` of its unit; {} for none."""

    default = dict

    def command(self, app: str) -> str:
        link = shlex.quote(f"/srv/{app}/current")
        unit = f"{shlex.quote(app)}@$(basename $(readlink {link})).service"
        show = f"cat {link}/.release.json; systemctl is-active {unit} || true"
        return f"if [ -f {link}/.release.json ]; then {show}; fi"

    def process(self, output: list[str]) -> dict[str, Any]:
        return {**json.loads(output[0]), "state": output[1].strip()} if len(output) > 1 else {}


class Releases(FactBase):
    """`smallfleet-release list NAME`: all releases and records of refused ones, newest first."""

    default = list

    def command(self, app: str) -> str:
        return f"if [ -x {PROGRAM} ]; then {PROGRAM} list {shlex.quote(app)}; else echo '[]'; fi"

    def process(self, output: list[str]) -> list[dict[str, Any]]:
        return list(json.loads("\n".join(output)))
