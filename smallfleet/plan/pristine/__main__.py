"""Record what a new droplet answers: python -m smallfleet.plan.pristine INVENTORY DROPLET [FILE]

The droplet must have been created and not deployed to; it should have all roles, so that all facts are asked.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from smallfleet.errors import FleetError  # noqa: E402
from smallfleet.plan.make import prepare  # noqa: E402
from smallfleet.plan.pristine import RECORDS, worth_recording  # noqa: E402


def record(inventory: str, droplet: str, deploy: str = "deploys/site.py") -> dict[str, list[str]]:
    """{command: lines} of the facts that `deploy` asks of the new droplet, where they print something."""
    answers: dict[str, list[str]] = {}

    def remember(command: str, lines: list[str]) -> None:
        if lines := worth_recording(command, lines):
            answers[command] = lines

    prepare(Path(inventory), Path(deploy), [droplet], recorder=remember)
    return dict(sorted(answers.items()))


def main(inventory: str, droplet: str, file: str = str(RECORDS / "debian-12.json")) -> None:
    answers = record(inventory, droplet)
    Path(file).write_text(json.dumps({"image": Path(file).stem, "answers": answers}, indent=1) + "\n")
    print(f"{len(answers)} answers in {file}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except FleetError as error:
        sys.exit(str(error))
