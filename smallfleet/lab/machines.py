"""Droplets as machines: systemd-nspawn containers on overlays of a cached image."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from smallfleet.lab import cgroups, image
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.errors import LabError
from smallfleet.lab.network import LabNetwork
from smallfleet.lab.parts import MachineSpec
from smallfleet.lab.run import run

REBOOT = 133  # how nspawn ends when the container asked for a reboot
NSPAWN_RUN = Path("/run/systemd/nspawn")
POWEROFF, REBOOT_NOW = signal.SIGRTMIN + 4, signal.SIGRTMIN + 5  # what systemd as PID 1 takes for it


class LabMachines:
    """The machines of one lab. Each lives in `LAB/droplets/ID`: spec.json, upper/, work/ and the mount root/."""

    def __init__(self, lab: Lab, network: LabNetwork) -> None:
        self.lab, self.network = lab, network
        self.boots: dict[int, Boot] = {}
        self.lock = threading.Lock()

    def create(self, spec: MachineSpec) -> None:
        home = self._home(spec.id)
        for part in ("upper", "work", "root"):
            (home / part).mkdir(parents=True, exist_ok=True)
        self._save(spec)
        lay_down(spec, home / "upper", self.lab)
        self.network.attach(spec)
        self.start(spec.id)

    def start(self, id: int) -> None:
        with self.lock:
            if self.running(id):
                return
            spec = self._spec(id)
            if id not in self.network.machines:
                self.network.attach(spec)
            self._mount(spec)
            self.boots[id] = Boot(spec, self.lab, self._home(id) / "root", lambda: self.network.reset(id))
            self.boots[id].start()

    def shutdown(self, id: int) -> None:
        self._end(id, lambda boot: boot.signal(POWEROFF), 90)

    def power_off(self, id: int) -> None:
        self._end(id, lambda boot: boot.signal(signal.SIGKILL), 15)

    def reboot(self, id: int) -> None:
        boot = self._boot(id)
        before = boot.count
        boot.signal(REBOOT_NOW)
        if not boot.wait_for(lambda: boot.count > before or boot.over, 120):
            raise LabError(f"droplet {id} did not reboot within 120 s")

    def power_cycle(self, id: int) -> None:
        if self.running(id):
            self.power_off(id)
        self.start(id)

    def destroy(self, id: int) -> None:
        if self.running(id):
            self.power_off(id)
        self.boots.pop(id, None)
        run("umount", "-l", str(self._home(id) / "root"), check=False)
        self.network.detach(id)
        cgroups.remove(self.lab.name, id)
        shutil.rmtree(self._home(id), ignore_errors=True)

    def running(self, id: int) -> bool:
        boot = self.boots.get(id)
        return boot is not None and not boot.over

    def snapshot(self, id: int, image: str) -> float:
        target = self.lab.directory / "snapshots" / image
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        run("cp", "-a", f"{self._home(id)}/upper/.", str(target))
        (target.parent / f"{image}.base").write_text(self._base(self._spec(id).image)[-1].name)
        size = run("du", "-sm", str(target)).split()[0]
        return round(int(size) / 1024, 2)

    def delete_snapshot(self, image: str) -> None:
        shutil.rmtree(self.lab.directory / "snapshots" / image, ignore_errors=True)

    def rebuild(self, id: int, image: str) -> None:
        if self.running(id):
            self.power_off(id)
        home = self._home(id)
        run("umount", "-l", str(home / "root"), check=False)
        for part in ("upper", "work"):
            shutil.rmtree(home / part)
            (home / part).mkdir()
        spec = replace(self._spec(id), image=image)
        self._save(spec)
        lay_down(spec, home / "upper", self.lab)
        self.start(id)

    def resize(self, id: int, memory: int, vcpus: int) -> None:
        self._save(replace(self._spec(id), memory=memory, vcpus=vcpus))
        if self.running(id):
            cgroups.limit(self.lab.name, id, memory)

    def resume(self) -> None:
        """Attach and start the machines that a kept lab had running."""
        for file in sorted((self.lab.directory / "droplets").glob("*/spec.json")):
            self.network.attach(self._spec(int(file.parent.name)))
            if (file.parent / "was-running").exists():
                self.start(int(file.parent.name))

    def stop_all(self) -> None:
        """Shut every machine down, side by side, and take its mount, namespace and groups away; its disk stays."""
        ids = [int(file.parent.name) for file in (self.lab.directory / "droplets").glob("*/spec.json")]
        for id in ids:
            marker = self._home(id) / "was-running"
            marker.touch() if self.running(id) else marker.unlink(missing_ok=True)

        def stop(id: int) -> None:
            if self.running(id):
                try:
                    self.shutdown(id)
                except LabError:
                    self.power_off(id)
            run("umount", "-l", str(self._home(id) / "root"), check=False)
            self.network.detach(id)
            cgroups.remove(self.lab.name, id)

        threads = [threading.Thread(target=stop, args=(id,)) for id in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _home(self, id: int) -> Path:
        return self.lab.directory / "droplets" / str(id)

    def _spec(self, id: int) -> MachineSpec:
        try:
            data = json.loads((self._home(id) / "spec.json").read_text())
        except FileNotFoundError:
            raise LabError(f"there is no droplet {id} in the lab {self.lab.name}") from None
        return MachineSpec(**{**data, "ssh_keys": tuple(data["ssh_keys"])})

    def _save(self, spec: MachineSpec) -> None:
        file = self._home(spec.id) / "spec.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(spec)))

    def _boot(self, id: int) -> Boot:
        if not self.running(id):
            raise LabError(f"droplet {id} is powered off")
        return self.boots[id]

    def _end(self, id: int, how: Callable[[Boot], None], seconds: float) -> None:
        if not self.running(id):
            return
        boot = self.boots[id]
        boot.stopping = True
        how(boot)
        if not boot.wait_for(lambda: boot.over, seconds):
            raise LabError(f"droplet {id} is still on after {seconds:.0f} s")

    def _base(self, slug: str) -> list[Path]:
        """The lower layers of an image, uppermost first."""
        if slug.startswith("snapshot-"):
            layer = self.lab.directory / "snapshots" / slug
            return [layer, image.CACHE / (layer.parent / f"{slug}.base").read_text()]
        return [image.ensure(slug)]

    def _mount(self, spec: MachineSpec) -> None:
        home = self._home(spec.id)
        if (home / "root").is_mount():
            return
        lower = ":".join(str(layer) for layer in self._base(spec.image))
        options = f"lowerdir={lower},upperdir={home}/upper,workdir={home}/work"
        run("mount", "-t", "overlay", "-o", options, f"smallfleet-{self.lab.name}", str(home / "root"))


class Boot:
    """A droplet that is on: its nspawn process, started again when the droplet reboots, and a thread that waits for it."""

    def __init__(self, spec: MachineSpec, lab: Lab, root: Path, cleared: Callable[[], None]) -> None:
        self.spec, self.lab, self.root, self.cleared = spec, lab, root, cleared
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.over = False
        self.count = 0
        self.changed = threading.Condition()

    def start(self) -> None:
        # The first start is in the caller's thread, so that what fails at once is the caller's to hear.
        ensure_nspawn_can_reboot()
        self._spawn()
        threading.Thread(target=self._wait, daemon=True, name=f"droplet-{self.spec.id}").start()

    def signal(self, number: int) -> None:
        """Send a signal to the droplet's own PID 1."""
        process = self.process
        if process is None:
            return
        end = time.monotonic() + 10
        while time.monotonic() < end and process.poll() is None:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if children:
                os.kill(int(children[0]), number)
                return
            time.sleep(0.02)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        with self.changed:
            return self.changed.wait_for(condition, seconds)

    def _spawn(self) -> None:
        name, space = f"{self.lab.name}-{self.spec.id}", f"{self.lab.namespace}-{self.spec.id}"
        joins = cgroups.make(self.lab.name, self.spec.id, self.spec.memory)
        join = "".join(f"echo $$ > {file}; " for file in joins)
        nspawn = [
            "systemd-nspawn", "--register=no", "--keep-unit", "--quiet", "-D", str(self.root), "-M", name,
            f"--hostname={self.spec.name}", "--capability=CAP_NET_ADMIN", "--resolv-conf=off", "--timezone=off",
            "--console=read-only", f"--network-namespace-path=/run/netns/{space}", "-b",
        ]  # fmt: skip
        log = (self.root.parent / "console.log").open("ab")
        self.process = subprocess.Popen(
            ["sh", "-c", f'{join}exec "$@"', "droplet", *nspawn],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
            start_new_session=True,
        )
        log.close()
        with self.changed:
            self.count += 1
            self.changed.notify_all()

    def _wait(self) -> None:
        while True:
            assert self.process is not None
            status = self.process.wait()
            if status == REBOOT and not self.stopping:
                self.cleared()
                self._spawn()
                continue
            with self.changed:
                self.over = True
                self.changed.notify_all()
            return


def lay_down(spec: MachineSpec, upper: Path, lab: Lab) -> None:
    """Write into a new droplet what the cloud injects: host keys, machine id, name, keys of root, resolver, user data."""
    (upper / "etc/ssh").mkdir(parents=True, exist_ok=True)
    run(
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        spec.name,
        "-f",
        str(upper / "etc/ssh/ssh_host_ed25519_key"),
    )
    (upper / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (upper / "etc/hostname").write_text(spec.name + "\n")
    (upper / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {spec.name}\n::1 localhost ip6-localhost\n"
    )
    (upper / "etc/resolv.conf").write_text(f"nameserver {lab.resolver}\n")
    ssh = upper / "root/.ssh"
    ssh.mkdir(parents=True, mode=0o700)
    ssh.parent.chmod(0o700)
    (ssh / "authorized_keys").write_text("".join(f"{key.strip()}\n" for key in spec.ssh_keys))
    (ssh / "authorized_keys").chmod(0o600)
    trust = lab.directory / "acme-api-ca.pem"
    if trust.exists():
        # In the trust store the way that the droplet's own administrator would add it.
        place = upper / "usr/local/share/ca-certificates"
        place.mkdir(parents=True)
        shutil.copy(trust, place / "smallfleet-lab.crt")
        bundle = image.ensure(spec.image) if not spec.image.startswith("snapshot-") else None
        if bundle:
            (upper / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
            certificates = (bundle / "etc/ssl/certs/ca-certificates.crt").read_text() + trust.read_text()
            (upper / "etc/ssl/certs/ca-certificates.crt").write_text(certificates)
    if spec.user_data:
        data = upper / "var/lib/cloud/user-data"
        data.parent.mkdir(parents=True)
        data.write_text(spec.user_data)
        data.chmod(0o700)


def ensure_nspawn_can_reboot() -> None:
    """Where /run is no tmpfs, nspawn refuses to reboot a container; a tmpfs on its own directory there mends that."""
    kind = run("stat", "-f", "-c", "%T", "/run").strip()
    if kind != "tmpfs" and not NSPAWN_RUN.is_mount():
        NSPAWN_RUN.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=0755,size=16m", "smallfleet", str(NSPAWN_RUN))
