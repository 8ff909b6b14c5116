"""The far side of a lab: what stands outside the fleet in production, on the gateway's address in the lab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from smallfleet.lab import acme, archive, repositories
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.dns import LabDns
from smallfleet.lab.service import Service


def ensure_api_ca(lab: Lab) -> Path:
    """The CA of the lab's ACME server, as a file that droplets are to trust; made when it is not there."""
    return acme.ensure_api_ca(lab.path, lab.gateway)


class FarSide:
    """DNS, ACME, MongoDB's package archive and git of one lab. `start` returns when each of them answers."""

    def __init__(self, lab: Lab) -> None:
        logs = lab.path / "logs"
        self.lab = lab
        self.dns = LabDns(lab.namespace, lab.gateway, lab.path / "dns", logs)
        self.acme = acme.LabAcme(lab.namespace, lab.gateway, lab.path, Path(lab.ca), logs)
        self.files = lab.path / "files"
        self.git = lab.path / "git"
        self.archive_server = Service(
            "the lab's package archive",
            lab.namespace,
            [sys.executable, "-m", "smallfleet.lab.fileserver", lab.gateway, "80", str(self.files)],
            logs / "archive.log",
        )
        # `git daemon` by itself turns droplets away that ask at once: it lets five of them wait, and 32 in.
        allowed = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        self.git_server = Service(
            "the lab's git server",
            lab.namespace,
            [
                *("systemd-socket-activate", "--accept", "--inetd", f"--listen={lab.gateway}:9418"),
                *(f"--setenv={name}" for name in ("PATH", *allowed)),
                *("git", "daemon", "--inetd", "--export-all", f"--base-path={self.git}", str(self.git)),
            ],
            logs / "git.log",
            allowed,
        )

    def start(self) -> None:
        self.files.mkdir(parents=True, exist_ok=True)
        archive.make(self.files / "mongodb")
        repositories.make(self.git)
        try:
            self.dns.start()
            self.acme.start()
            self.archive_server.start(lambda: self._listens(80))
            self.git_server.start(lambda: self._listens(9418))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.git_server.stop()
        self.archive_server.stop()
        self.acme.stop()
        self.dns.stop()

    def _listens(self, port: int) -> bool:
        """Whether something listens on a port of the gateway; asked from within the namespace."""
        listening = ["ip", "netns", "exec", self.lab.namespace, "ss", "-Hltn", f"sport = :{port}"]
        return bool(subprocess.run(listening, capture_output=True, text=True, check=False).stdout.strip())
