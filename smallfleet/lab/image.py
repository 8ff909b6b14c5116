"""Images of the lab: a root file system per DigitalOcean image slug, built once by mmdebstrap and cached.

The recipe takes the release without its security suite, while the image's own sources list has it: droplets have real
security updates to install, as droplets of a cloud have after some weeks.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

CACHE = Path("/var/cache/smallfleet/images")
PACKAGES = (
    "systemd systemd-sysv dbus openssh-server sudo python3 python3-venv iproute2 iputils-ping ca-certificates nftables curl git "
    "gnupg procps less dnsutils"
).split()
TRUSTED = Path("/usr/local/share/ca-certificates")

# On cgroup v1 nspawn mounts the controllers read-only inside, and a unit's MemoryMax would do nothing.
CGROUP_UNIT = """[Unit]
Description=Writable cgroup v1 controllers, for MemoryMax and its like
DefaultDependencies=no
Before=sysinit.target
ConditionPathIsMountPoint=/sys/fs/cgroup/memory

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in memory pids cpu; do mount -o remount,bind,rw /sys/fs/cgroup/$c || true; done; systemctl --no-block daemon-reexec'

[Install]
WantedBy=sysinit.target
"""
# As cloud-init on DigitalOcean: a script given as user data runs once, as root, at the first boot.
USER_DATA_UNIT = """[Unit]
Description=Run the droplet's user data once
After=network-online.target ssh.service
ConditionPathExists=/var/lib/cloud/user-data
ConditionPathExists=!/var/lib/cloud/user-data.done

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'touch /var/lib/cloud/user-data.done; exec /var/lib/cloud/user-data'

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Recipe:
    """What an image is built from. Its hash names the cached image, so a changed recipe builds a new one."""

    slug: str
    suite: str
    mirror: str
    security: str  # mirror of the security suite
    components: str
    packages: tuple[str, ...] = tuple(PACKAGES)
    units: str = CGROUP_UNIT + USER_DATA_UNIT
    trusted: str = ""  # hash of the machine's own CA certificates
    version: int = 1

    @property
    def path(self) -> Path:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        return CACHE / f"{self.slug}-{digest}"

    @property
    def sources(self) -> str:
        """The sources list inside the droplet."""
        suites = [
            (self.mirror, self.suite),
            (self.mirror, f"{self.suite}-updates"),
            (self.security, f"{self.suite}-security"),
        ]
        return "".join(f"deb {mirror} {suite} {self.components}\n" for mirror, suite in suites)


SUITES = {
    "debian-12-x64": "bookworm",
    "debian-13-x64": "trixie",
    "ubuntu-22-04-x64": "jammy",
    "ubuntu-24-04-x64": "noble",
}


def recipe(slug: str) -> Recipe:
    """The recipe of an image slug; `LabError` for one that the lab does not know."""
    if slug not in SUITES:
        raise LabError(f"the lab has no image {slug}. It has: {', '.join(SUITES)}")
    trusted = hashlib.sha256(
        b"".join(file.read_bytes() for file in sorted(TRUSTED.glob("*.crt")))
    ).hexdigest()
    if slug.startswith("ubuntu"):
        ubuntu = "http://archive.ubuntu.com/ubuntu"
        return Recipe(slug, SUITES[slug], ubuntu, ubuntu, "main universe", trusted=trusted)
    mirror, security = _debian_mirrors()
    return Recipe(slug, SUITES[slug], mirror, security, "main", trusted=trusted)


def ensure(slug: str, say=print) -> Path:
    """The root directory of an image, built if it is not cached. Takes about half a minute the first time."""
    wanted = recipe(slug)
    if wanted.path.is_dir():
        return wanted.path
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{slug}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if wanted.path.is_dir():
            return wanted.path
        say(f"building the image {slug} (once)")
        aside = wanted.path.with_suffix(".new")
        shutil.rmtree(aside, ignore_errors=True)
        run(
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(wanted.packages)}",
            "--aptopt=APT::Install-Recommends false",
            wanted.suite,
            str(aside),
            f"deb {wanted.mirror} {wanted.suite} {wanted.components}",
        )
        _finish(aside, wanted)
        aside.replace(wanted.path)
        for old in CACHE.glob(f"{slug}-*"):
            if old != wanted.path and not _in_use(old):
                shutil.rmtree(old, ignore_errors=True)
    return wanted.path


def _finish(root: Path, wanted: Recipe) -> None:
    (root / "etc/apt/sources.list").write_text(wanted.sources)
    for unit, text in (("smallfleet-lab-cgroup", CGROUP_UNIT), ("smallfleet-lab-user-data", USER_DATA_UNIT)):
        (root / f"etc/systemd/system/{unit}.service").write_text(text)
    run(
        "systemctl",
        f"--root={root}",
        "enable",
        "-q",
        "smallfleet-lab-cgroup",
        "smallfleet-lab-user-data",
        "ssh",
    )
    # Each droplet has its own of these; a shared one would make eight machines look like one.
    for file in (*(root / "etc/ssh").glob("ssh_host_*"), root / "etc/hostname"):
        file.unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    # Whatever the machine trusts the droplets trust too, as behind a network with a TLS-inspecting proxy.
    target = root / "usr/local/share/ca-certificates"
    target.mkdir(parents=True, exist_ok=True)
    for file in TRUSTED.glob("*.crt"):
        shutil.copy(file, target)
    run("chroot", str(root), "update-ca-certificates")
    (root / "etc/uv").mkdir(exist_ok=True)
    (root / "etc/uv/uv.toml").write_text("native-tls = true\n")
    (root / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)


def _in_use(image: Path) -> bool:
    return str(image) in Path("/proc/self/mounts").read_text()


def _debian_mirrors() -> tuple[str, str]:
    """The machine's own mirrors of Debian and of its security suite, from its apt sources; Debian's own elsewhere."""
    mirror, security = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
    texts = [
        file.read_text()
        for file in Path("/etc/apt").glob("sources.list.d/*")
        if file.suffix in (".list", ".sources")
    ]
    main = Path("/etc/apt/sources.list")
    texts.append(main.read_text() if main.exists() else "")
    found = [
        url.rstrip("/")
        for text in texts
        for url in re.findall(r"^(?:deb |URIs:).*?(https?://\S+)", text, re.M)
    ]
    for url in found:
        if url.endswith("/debian"):
            mirror = url
        elif url.endswith("/debian-security"):
            security = url
    return mirror, security
