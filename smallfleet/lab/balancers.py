"""The lab's load balancers: each a namespace on both networks, as a droplet's is, with one process in it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field

from smallfleet.lab.descriptor import Lab
from smallfleet.lab.network import LabNetwork
from smallfleet.lab.parts import BalancerSpec, MachineSpec
from smallfleet.lab.service import Service


@dataclass
class LabBalancers:
    """Implements `parts.Balancers`. Safe from several threads."""

    lab: Lab
    network: LabNetwork
    _running: dict[int, Service] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, specs: list[BalancerSpec]) -> None:
        with self._lock:
            wanted = {spec.id: spec for spec in specs}
            for id in self._running.keys() - wanted.keys():
                self._running.pop(id).stop()
                self.network.detach(id)
            for spec in specs:
                self._serve(spec)

    def _serve(self, spec: BalancerSpec) -> None:
        config = self.lab.runtime / f"balancer-{spec.id}.json"
        said = asdict(spec)
        text = json.dumps(
            {key: said[key] for key in ("ports", "proxy_protocol", "check")}
            | {"address": spec.public_address, "targets": list(spec.targets)}
        )
        if spec.id in self._running:
            if config.read_text() != text:
                config.write_text(text)
                self._running[spec.id].signal(signal.SIGHUP)
            return
        config.write_text(text)
        namespace = self.network.attach(
            MachineSpec(
                id=spec.id,
                name=f"balancer-{spec.id}",
                image="",
                memory=0,
                vcpus=0,
                public_address=spec.public_address,
                private_address=spec.private_address,
                vpc_range=spec.vpc_range,
                vpc_id=spec.vpc_id,
                ssh_keys=(),
            )
        )
        service = Service(
            f"the load balancer {spec.id}",
            namespace,
            [sys.executable, "-m", "smallfleet.lab.balancer", str(config)],
            self.lab.path / "logs" / f"balancer-{spec.id}.log",
        )
        self._running[spec.id] = service
        service.start(lambda: _listens(namespace, [int(port) for port in spec.ports]), seconds=60)

    def stop(self) -> None:
        self.apply([])


def _listens(namespace: str, ports: list[int]) -> bool:
    """Whether something listens on all of the ports in the namespace."""
    listening = ["ip", "netns", "exec", namespace, "ss", "-Hltn"]
    said = subprocess.run(listening, capture_output=True, text=True, check=False).stdout
    return all(f":{port} " in said for port in ports)
