"""That the playbook and the deploy make the same droplets, shown from both sides; what differs is printed.

    python -m bench.same [--droplets 2]        as root, in the venv; makes and ends a lab twice

1. The deploy provisions. The playbook, run over it, must change nothing, nor then the deploy; each droplet is
   file by file what it was before (but for a package that was there, which Ansible marks as asked for).
2. The playbook provisions from nothing. The deploy's `--dry` and `-y` must find nothing to change.
3. The droplets of 1 and of 2 are compared. What may differ is in bench/differences.py, with its reason.

Ends with 1 if any of this is not so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.differences import differences, touched, unexplained
from bench.rooms import PROJECT, Rooms, changes_in_json
from bench.run import say
from bench.ways import Ansible, Mitogen, Smallfleet
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.visitor import ssh_command

LAB = "same"
# Ansible's apt has fetched the lists a moment ago; pyinfra knows their age by a stamp that it makes itself.
LISTS_ARE_NEW = "mkdir -p /var/lib/apt/periodic && touch /var/lib/apt/periodic/update-success-stamp"
Snapshots = dict[str, dict[str, dict[str, str]]]  # by droplet, see bench/snapshot.py


class Verdict:
    """What was shown; `well` while all of it is as it should be."""

    well = True

    def expect(self, what: str, found: int | list[str]) -> None:
        count = found if isinstance(found, int) else len(found)
        self.well = self.well and not count
        print(f"{'ok ' if not count else 'NOT SO'} {what}: {count}", flush=True)
        for line in found if isinstance(found, list) else []:
            print(f"       {line}")


@contextmanager
def fleet(count: int) -> Iterator[Rooms]:
    """Droplets that have nothing on them, in a lab that ends with them."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rooms = Rooms(Path(directory), count, LAB)
        try:
            rooms.up()
            yield rooms
        finally:
            os.chdir(PROJECT)
            rooms.down()


def snapshots(rooms: Rooms) -> Snapshots:
    """What each droplet of the fleet is now."""
    program = (PROJECT / "bench/snapshot.py").read_text()
    found = {}
    for droplet in rooms.fleet().droplets:
        found[droplet.name] = json.loads(on(rooms, droplet.name, "exec python3 -", program))
    return found


def on(rooms: Rooms, droplet: str, command: str, stdin: str = "") -> str:
    """What a command prints on the droplet."""
    words = ssh_command(Lab.load(rooms.lab), droplet, [command])
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{droplet}: {command} ended {done.returncode}: {done.stderr}")
    return done.stdout


def planned(rooms: Rooms) -> list[str]:
    """What the deploy says that it would do, by droplet."""
    printed = rooms.run("pyinfra", "--json", rooms.inventory, "deploys/site.py", "--dry").stdout
    plan = json.loads(printed[printed.index("{") :])
    return [
        f"{operation['name']}: {', '.join(operation['hosts_with_change'])}"
        for operation in plan["plan"]
        if operation["hosts_with_change"]
    ]


def ours_first(count: int, verdict: Verdict) -> Snapshots:
    with fleet(count) as rooms:
        ways = {way.title: way(rooms, rooms.fleet()) for way in (Smallfleet, Ansible, Mitogen)}
        say("smallfleet provisions")
        ways["smallfleet"].run(0)
        made = snapshots(rooms)
        for title in ("Ansible", "Ansible with Mitogen", "smallfleet"):
            verdict.expect(
                f"smallfleet has provisioned; changes by {title}, run over it",
                ways[title].run(0).changes or 0,
            )
        verdict.expect(
            "what differs on the droplets before and after", touched(differences(made, snapshots(rooms)))
        )
        return made


def ansible_first(count: int, verdict: Verdict) -> Snapshots:
    with fleet(count) as rooms:
        say("Ansible provisions")
        ansible = Ansible(rooms, rooms.fleet())
        ansible.run(0)
        verdict.expect(
            "Ansible has provisioned; changes by Ansible, run once more", ansible.run(0).changes or 0
        )
        made = snapshots(rooms)
        for droplet in made:
            on(rooms, droplet, LISTS_ARE_NEW)
        verdict.expect("what smallfleet's --dry finds to change", planned(rooms))
        printed = rooms.run("pyinfra", "--json", rooms.inventory, "deploys/site.py", "-y").stdout
        verdict.expect("what smallfleet's -y has changed", changes_in_json(printed))
        return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--droplets", type=int, default=2)
    wanted = parser.parse_args()
    verdict = Verdict()
    ours = ours_first(wanted.droplets, verdict)
    theirs = ansible_first(wanted.droplets, verdict)
    verdict.expect(
        "what differs between droplets of smallfleet and of Ansible, without a reason",
        unexplained(differences(ours, theirs)),
    )
    return 0 if verdict.well else 1


if __name__ == "__main__":
    sys.exit(main())
