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
