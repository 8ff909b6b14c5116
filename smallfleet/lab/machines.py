"""Droplets as machines: implements `parts.Machines` with one supervisor and one disk per droplet."""

from __future__ import annotations

import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from smallfleet.lab import cgroups, descriptor, disks
from smallfleet.lab.descriptor import Lab, write_private
from smallfleet.lab.errors import LabError
from smallfleet.lab.injection import check_user_data, inject
from smallfleet.lab.network import LabNetwork
from smallfleet.lab.nspawn import allow_reboots
from smallfleet.lab.parts import MachineSpec
from smallfleet.lab.supervisor import Supervisor


class LabMachines:
    """The machines of one lab. Calls on one droplet come one after the other, on different ones side by side.

    `LAB/droplets/ID` holds a droplet: machine.json (its spec, the layers below its disk, whether it is on),
    upper and work (its disk) and console.log.
    """

    def __init__(self, lab: Lab, network: LabNetwork) -> None:
        self.lab = lab
        self.network = network
        self._supervisors: dict[int, Supervisor] = {}
        self._locks: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)

    def create(self, spec: MachineSpec) -> None:
        check_user_data(spec)
        with self._locks[spec.id]:
            home = self._home(spec.id)
            if (home / "machine.json").exists():
                raise LabError(f"Droplet {spec.id} exists already in lab {self.lab.name}.")
            lower = disks.layers(self.lab, spec.image)
            home.mkdir(parents=True, mode=0o711)
            try:
                self._save(spec, lower, on=True)
                self._inject(spec, lower)
                self.network.attach(spec)
                self._start(spec, lower)
            except BaseException:
                self.destroy(spec.id)
                raise

    def start(self, id: int) -> None:
        with self._locks[id]:
            spec, lower, _ = self._load(id)
            self._start(spec, lower)
            self._save(spec, lower, on=True)

    def shutdown(self, id: int) -> None:
        self._stop(id, Supervisor.shutdown)

    def power_off(self, id: int) -> None:
        self._stop(id, Supervisor.power_off)

    def reboot(self, id: int) -> None:
        with self._locks[id]:
            if not self.running(id):
                raise LabError(f"Droplet {id} is off: it cannot be rebooted.")
            self._supervisors[id].reboot()

    def power_cycle(self, id: int) -> None:
        with self._locks[id]:
            self.power_off(id)
            self.start(id)

    def destroy(self, id: int) -> None:
        with self._locks[id]:
            self._halt(id, Supervisor.power_off)
            self.network.detach(id)
            shutil.rmtree(self._home(id), ignore_errors=True)
            disks.collect(self.lab)

    def running(self, id: int) -> bool:
        supervisor = self._supervisors.get(id)
        return supervisor is not None and supervisor.running

    def snapshot(self, id: int, image: str) -> float:
        with self._locks[id]:
            _, lower, _ = self._load(id)
            return disks.take(self.lab, id, image, lower)

    def delete_snapshot(self, image: str) -> None:
        directory = self.lab.path / "snapshots" / image
        if directory.exists():
            (directory / "deleted").touch()
            disks.collect(self.lab)

    def rebuild(self, id: int, image: str) -> None:
        with self._locks[id]:
            lower = disks.layers(self.lab, image)
            spec = replace(self._load(id)[0], image=image)
            self._halt(id, Supervisor.power_off)
            disks.wipe(self.lab, id)
            self._save(spec, lower, on=True)
            self._inject(spec, lower)
            self._start(spec, lower)
            disks.collect(self.lab)

    def resize(self, id: int, memory: int, vcpus: int) -> None:
        with self._locks[id]:
            spec, lower, on = self._load(id)
            spec = replace(spec, memory=memory, vcpus=vcpus)
            self._save(spec, lower, on)
            if self.running(id):
                cgroups.limit(self._group(id), memory, vcpus)

    def attach(self) -> None:
        """Give all droplets of a kept lab their network, so that firewalls stand before they start."""

        def attach(id: int) -> None:
            with self._locks[id]:
                self.network.attach(self._load(id)[0])

        self._everywhere(attach)

    def resume(self) -> None:
        """Attach all droplets of a kept lab and start those that were on."""

        def start(id: int) -> None:
            with self._locks[id]:
                spec, lower, on = self._load(id)
                if on:
                    self._start(spec, lower)

        self.attach()
        self._everywhere(start)

    def close(self, graceful: bool) -> None:
        """Stop all droplets and let go of what they hold; their disks, and whether they were on, are kept."""

        def close(id: int) -> None:
            with self._locks[id]:
                self._halt(id, Supervisor.shutdown if graceful else Supervisor.power_off)
                self.network.detach(id)

        self._everywhere(close)

    def _everywhere(self, what: Callable[[int], None]) -> None:
        ids = [int(path.parent.name) for path in self.lab.path.glob("droplets/*/machine.json")]
        if ids:
            with ThreadPoolExecutor(len(ids)) as pool:
                list(pool.map(what, ids))

    def _start(self, spec: MachineSpec, lower: list[str]) -> None:
        if self.running(spec.id):
            return
        allow_reboots()
        cgroups.limit(self._group(spec.id), spec.memory, spec.vcpus)
        supervisor = Supervisor(
            machine=f"{self.lab.name}-{spec.id}",
            hostname=spec.name,
            root=disks.mount(self.lab, spec.id, lower),
            namespace=self.network.namespace(spec.id),
            group=self._group(spec.id),
            log=self._home(spec.id) / "console.log",
            firmware=descriptor.firmware(),
        )
        self._supervisors[spec.id] = supervisor
        supervisor.start()

    def _inject(self, spec: MachineSpec, lower: list[str]) -> None:
        root = disks.mount(self.lab, spec.id, lower)
        inject(spec, root, self.lab.resolver, self.lab.path / "acme-api-ca.pem")

    def _stop(self, id: int, how: Callable[[Supervisor], None]) -> None:
        with self._locks[id]:
            spec, lower, _ = self._load(id)
            self._save(spec, lower, on=False)
            self._halt(id, how)

    def _halt(self, id: int, how: Callable[[Supervisor], None]) -> None:
        """Switch off in the given way; take away its cgroup and mount."""
        supervisor = self._supervisors.pop(id, None)
        if supervisor is not None:
            how(supervisor)
        cgroups.remove(self._group(id))
        disks.unmount(self.lab, id)

    def _group(self, id: int) -> str:
        return f"{self.lab.name}/{id}"

    def _home(self, id: int) -> Path:
        return self.lab.path / "droplets" / str(id)

    def _save(self, spec: MachineSpec, lower: list[str], on: bool) -> None:
        kept = {"spec": asdict(spec), "layers": lower, "on": on}
        write_private(self._home(spec.id) / "machine.json", json.dumps(kept, indent=2) + "\n")

    def _load(self, id: int) -> tuple[MachineSpec, list[str], bool]:
        try:
            kept = json.loads((self._home(id) / "machine.json").read_text())
        except FileNotFoundError:
            raise LabError(f"There is no droplet {id} in lab {self.lab.name}.") from None
        kept["spec"]["ssh_keys"] = tuple(kept["spec"]["ssh_keys"])
        return MachineSpec(**kept["spec"]), kept["layers"], kept["on"]
