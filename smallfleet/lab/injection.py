"""What the cloud puts into a new droplet: host keys, machine id, name, root's keys, resolver, user data."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from smallfleet.lab import recipe
from smallfleet.lab.errors import LabError
from smallfleet.lab.parts import MachineSpec
from smallfleet.lab.run import run

HOST_KEY_TYPES = ("ed25519", "ecdsa")


def check_user_data(spec: MachineSpec) -> None:
    """The lab runs scripts; cloud-init's other forms are refused rather than silently ignored."""
    if spec.user_data and not spec.user_data.startswith("#!"):
        raise LabError(
            f"User data of droplet {spec.name}: the lab runs scripts (starting with #!), not cloud-config."
        )


def inject(spec: MachineSpec, root: Path, resolver: str, trusted: Path) -> None:
    """Write it all into `root`, the mounted root of a droplet that is off. Replaces what an image had.

    `trusted` is the certificate (PEM) of the lab's ACME server, asked over HTTPS; it may be missing.
    """
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    for kind in HOST_KEY_TYPES:
        file = root / f"etc/ssh/ssh_host_{kind}_key"
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{spec.name}", "-f", str(file))
    (root / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (root / "etc/hostname").write_text(spec.name + "\n")
    (root / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {spec.name}\n::1 localhost ip6-localhost ip6-loopback\n"
    )
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)  # may be a link
    resolv.write_text(f"nameserver {resolver}\n")
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    keys = ssh / "authorized_keys"
    keys.write_text("".join(f"{key.strip()}\n" for key in spec.ssh_keys))
    keys.chmod(0o600)
    if trusted.exists():
        _trust(root, trusted.read_text())
    place = root / "var/lib/lab"
    shutil.rmtree(place, ignore_errors=True)
    if spec.user_data:
        place.mkdir(mode=0o700, parents=True)
        script = place / "user-data"
        script.write_text(spec.user_data)
        script.chmod(0o700)


def _trust(root: Path, certificate: str) -> None:
    """Add a certificate as an administrator would; the bundle is written at once."""
    place = root / "usr/local/share/ca-certificates/lab-acme.crt"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(certificate)
    bundle = root / recipe.CA_BUNDLE.lstrip("/")
    text = bundle.read_text()
    if certificate not in text:
        bundle.write_text(text + certificate)


def host_keys(upper: Path) -> list[str]:
    """The public host keys of a droplet, from its overlay's upper directory: "TYPE BASE64"."""
    files = sorted((upper / "etc/ssh").glob("ssh_host_*_key.pub"))
    return [" ".join(file.read_text().split()[:2]) for file in files]
