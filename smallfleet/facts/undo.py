"""The change that waits for its confirmation."""

from __future__ import annotations

from pyinfra.api import FactBase

UNDO = "/usr/local/sbin/smallfleet-undo"
PENDING = "/var/lib/smallfleet/undo/pending.json"


class UndoPending(FactBase[str | None]):
    """What the change is that nobody has confirmed yet; None if there is none, as there should be."""

    def command(self) -> str:
        what = "import json,sys; print(json.load(sys.stdin)['what'])"
        return f'if [ -f {PENDING} ]; then python3 -c "{what}" < {PENDING}; fi'

    def process(self, output: list[str]) -> str | None:
        return output[0].strip() if output else None
