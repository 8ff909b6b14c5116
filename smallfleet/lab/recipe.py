"""What the lab's images are made of: packages, and files laid over them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
LOCAL_CA = Path("/usr/local/share/ca-certificates")

# What a fresh droplet of DigitalOcean has and the deploys or the owner count on.
PACKAGES = (  # noqa: SIM905
    "systemd systemd-sysv dbus libpam-systemd openssh-server sudo python3 python3-venv iproute2 iputils-ping "
    "netbase procps ca-certificates nftables curl git gnupg less kmod cron logrotate apt-utils"
).split()


# Environment: packages that the images have besides, so that there is less for apt to do on each droplet.
MORE = "SMALLFLEET_LAB_PACKAGES"


def packages() -> list[str]:
    """What an image is made with. LabError for a name that is none."""
    more = os.environ.get(MORE, "").split()
    for name in more:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            raise LabError(f"{MORE}: {name!r} is no package's name. Names with spaces between were expected.")
    return [*PACKAGES, *(name for name in more if name not in PACKAGES)]


@dataclass(frozen=True)
class Release:
    """A distribution's release: its archive, and the suites that a running droplet updates from."""

    distribution: str
    suite: str
    components: str
    archive: str
    security: str
    keyring: str

    @property
    def sources(self) -> str:
        archive, security = mirror(self.archive), mirror(self.security)
        signed = f"Components: {self.components}\nSigned-By: {self.keyring}\n"
        return (
            f"Types: deb\nURIs: {archive}\nSuites: {self.suite} {self.suite}-updates\n{signed}\n"
            f"Types: deb\nURIs: {security}\nSuites: {self.suite}-security\n{signed}"
        )


def _debian(suite: str) -> Release:
    return Release(
        "debian",
        suite,
        "main",
        "http://deb.debian.org/debian",
        "http://deb.debian.org/debian-security",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
    )


def _ubuntu(suite: str) -> Release:
    return Release(
        "ubuntu",
        suite,
        "main universe",
        "http://archive.ubuntu.com/ubuntu",
        "http://security.ubuntu.com/ubuntu",
        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    )


RELEASES = {
    "debian-12-x64": _debian("bookworm"),
    "debian-13-x64": _debian("trixie"),
    "ubuntu-22-04-x64": _ubuntu("jammy"),
    "ubuntu-24-04-x64": _ubuntu("noble"),
}


def release(slug: str) -> Release:
    try:
        return RELEASES[slug]
    except KeyError:
        raise LabError(f"The lab has no image {slug!r}. It has: {', '.join(RELEASES)}.") from None


def mirror(default: str) -> str:
    """The URI that this machine's own apt takes `default`'s archive from, else `default`."""
    wanted = default.rsplit("/", 1)[1]
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", check=False)
    for uri in listed.split():
        if uri.rstrip("/").rsplit("/", 1)[-1] == wanted and uri.startswith(("http://", "https://")):
            return uri.rstrip("/")
    return default


def apt_options() -> dict[str, str]:
    """This machine's settings for reaching archives (proxy, frozen mirrors) that droplets need as well."""
    wanted = (
        "Acquire::http::Proxy",
        "Acquire::https::Proxy",
        "Acquire::Check-Valid-Until",
        "Acquire::Check-Date",
    )
    options = {}
    for line in run("apt-config", "dump", "--format", "%f=%v%n", *wanted, check=False).splitlines():
        key, _, value = line.partition("=")
        if key in wanted and value:
            options[key] = value
    return options


def files(slug: str) -> dict[str, str]:
    """Text files of the image by absolute path."""
    made = {
        f"/etc/apt/sources.list.d/{release(slug).distribution}.sources": release(slug).sources,
        "/etc/apt/apt.conf.d/90lab": "".join(f'{key} "{value}";\n' for key, value in apt_options().items())
        + 'Acquire::Languages "none";\n',
        # A droplet of the lab need not outlive its machine's power: no fsync per unpacked file.
        "/etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\n",
        "/etc/uv/uv.toml": "native-tls = true\n",
        "/etc/pip.conf": f"[global]\ncert = {CA_BUNDLE}\n",
        "/etc/ssh/sshd_config.d/10-lab.conf": "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUseDNS no\n",
        "/etc/systemd/system/lab-cgroups.service": CGROUPS_UNIT,
        "/etc/systemd/system/lab-user-data.service": USER_DATA_UNIT,
        "/usr/local/sbin/lab-cgroups": CGROUPS_SCRIPT,
        "/etc/fstab": "",
    }
    made |= {str(path): path.read_text() for path in sorted(LOCAL_CA.glob("*.crt"))}
    return made


EXECUTABLE = {"/usr/local/sbin/lab-cgroups"}
ENABLED = {"lab-cgroups.service": "sysinit.target.wants", "lab-user-data.service": "multi-user.target.wants"}
# What makes no sense in a container, or asks for what it cannot have.
MASKED = ("systemd-resolved.service", "systemd-networkd-wait-online.service", "systemd-firstboot.service")

# nspawn mounts a v1 machine's controllers read-only, so a unit's MemoryMax would do nothing.
CGROUPS_SCRIPT = """\
#!/bin/sh
for controller in memory pids cpu cpuacct "cpu,cpuacct" blkio; do
    [ -d "/sys/fs/cgroup/$controller" ] && [ ! -L "/sys/fs/cgroup/$controller" ] &&
        mount -o remount,bind,rw "/sys/fs/cgroup/$controller"
done
exec systemctl daemon-reexec
"""
CGROUPS_UNIT = """\
[Unit]
Description=Make the cgroup v1 controllers writable
ConditionControlGroupController=v1
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/local/sbin/lab-cgroups
"""
USER_DATA_UNIT = """\
[Unit]
Description=Run the droplet's user data once
ConditionPathExists=/var/lib/lab/user-data
ConditionPathExists=!/var/lib/lab/user-data.done
After=network.target ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=/bin/touch /var/lib/lab/user-data.done
ExecStart=/var/lib/lab/user-data
"""


def fingerprint(slug: str) -> str:
    """12 hex digits that change when the image would come out different for another recipe."""
    parts = [packages(), files(slug), sorted(EXECUTABLE), ENABLED, MASKED, 1]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
