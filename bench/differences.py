"""What differs between two fleets, and which of it has a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Snapshot = Mapping[str, Mapping[str, str]]  # of a droplet, see bench/snapshot.py

RELEASE = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")  # a release is named after its time: one is like the other

# Ansible's apt marks a package so without calling that a change, also in a run over droplets that are done.
ASKED_FOR = r"packages asked for: (python3-apt|openssl)"
# {"part: name" as regular expression: why it may differ}. The fleets are in labs made one after the other.
REASONS = {
    r"files: /etc/letsencrypt/(accounts|archive|csr|keys|renewal)/.*": "the ACME server is another one",
    r"files: /srv/[^/]+/\.cache/.*": "uv's cache has names of its own making",
    r"files: /etc/systemd/system/(\S+\.wants/)?smallfleet-undo\S*": "of the undo, which is ours alone",
    r"files: /usr/local/sbin/smallfleet-(undo|nginx-swap)": "programs that are ours alone",
    r"files: /var/lib/smallfleet/(undo|runs)(/.*)?": "ours alone keeps records and undoes",
    r"units (enabled|active): smallfleet-undo\S*": "of the undo, which is ours alone",
    ASKED_FOR: "there as others' dependency, and Ansible asks for it",
}
# The same, where the content alone may differ: owner, group and mode may not.
CONTENTS = {
    r"/etc/machine-id|/etc/ssh/ssh_host_\S+": "each droplet has its own",
    r"/etc/ssl/certs/ca-certificates\.crt": "each lab has a CA of its own",
    r"/usr/local/share/ca-certificates/lab-\S+\.crt": "each lab has a CA of its own",
    r"/etc/apt/keyrings/mongodb-\S+": "each lab has an archive of its own",
    r"/etc/nginx/tls/placeholder/\S+": "each droplet makes its own",
    r"/etc/smallfleet/(?:apps/\S+\.env|mongodb/(?:keyfile|users\.json))": "each lab has secrets of its own",
    r"/srv/\S+/\.release\.json": "it has the release's time",
    r"/opt/uv/pyvenv\.cfg": "it has the words that made the venv",
}


def differences(one: Mapping[str, Snapshot], other: Mapping[str, Snapshot]) -> list[str]:
    """A line for each thing that differs: droplet, part, name, the one's, the other's."""
    found = []
    for droplet, parts in one.items():
        for part in parts:
            mine, its = alike(parts[part]), alike(other[droplet][part])
            found += [
                f"{droplet}: {part}: {name}: {mine.get(name)} | {its.get(name)}"
                for name in sorted(mine.keys() | its.keys())
                if mine.get(name) != its.get(name)
            ]
    return found


def alike(part: Mapping[str, str]) -> dict[str, str]:
    """The part with the names of releases taken out."""
    return {RELEASE.sub("RELEASE", name): RELEASE.sub("RELEASE", text) for name, text in part.items()}


def has_reason(line: str) -> bool:
    what = line.partition(": ")[2]
    if any(re.match(rf"{reason}: ", what) for reason in REASONS):
        return True
    for path in CONTENTS:
        if found := re.match(rf"files: (?:{path}): \S+ (.*) \| \S+ (.*)$", what):
            return found[1] == found[2]
    return False


def unexplained(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not has_reason(line)]


def touched(lines: Iterable[str]) -> list[str]:
    """What a way changed that ought to change nothing; of REASONS, only ASKED_FOR counts there."""
    return [line for line in lines if not re.match(rf"[^:]+: {ASKED_FOR}: None \| by hand$", line)]
