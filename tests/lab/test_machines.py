"""Machines and network of a lab, driven directly: no API, no far side."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallfleet.lab import cgroups, cleanup, descriptor, lifecycle
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.errors import LabError
from smallfleet.lab.machines import LabMachines
from smallfleet.lab.network import LabNetwork
from smallfleet.lab.parts import DropletRules, MachineSpec, Rule
from tests.lab.conftest import eventually, traces

EVERYWHERE = ("0.0.0.0/0",)
OUT = (Rule("tcp", "all", EVERYWHERE), Rule("udp", "all", EVERYWHERE), Rule("icmp", "", EVERYWHERE))


class Bare:
    """A lab's machines and network without its API."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.network = LabNetwork(lab)
        self.machines = LabMachines(lab, self.network)
        self.specs: dict[int, MachineSpec] = {}

    def create(self, id: int, vpc: int = 1, **more: str) -> MachineSpec:
        key = Path(f"{self.lab.ssh_key}.pub").read_text()
        prefix = self.lab.public_range.rsplit(".", 1)[0]
        spec = MachineSpec(
            id=id,
            name=f"m{id}",
            image=more.get("image", "debian-12-x64"),
            memory=512,
            vcpus=1,
            public_address=f"{prefix}.{id + 10}",
            private_address=f"10.{100 + vpc}.0.{id + 10}",
            vpc_range=f"10.{100 + vpc}.0.0/24",
            vpc_id=str(vpc),
            ssh_keys=(key,),
            user_data=more.get("user_data"),
        )
        self.specs[id] = spec
        self.machines.create(spec)
        return spec

    def ssh(self, id: int, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        options += " -o ConnectTimeout=3 -o ServerAliveInterval=2 -o ServerAliveCountMax=2"
        address = self.specs[id].public_address
        return subprocess.run(
            ["ssh", *options.split(), "-i", self.lab.ssh_key, f"root@{address}", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def wait(self, id: int) -> None:
        eventually(lambda: self.ssh(id, "true", check=False).returncode == 0, f"m{id} answers on SSH")

    def boot_id(self, id: int) -> str:
        self.wait(id)
        return self.ssh(
            id, "systemctl is-system-running --wait >/dev/null; cat /proc/sys/kernel/random/boot_id"
        ).stdout

    def reaches(self, id: int, address: str, port: int = 22) -> bool:
        probe = f"timeout 2 bash -c '</dev/tcp/{address}/{port}'"
        return self.ssh(id, probe, check=False).returncode == 0


@contextlib.contextmanager
def bare_lab() -> Iterator[Bare]:
    lifecycle.check_machine()
    name = f"bare{os.getpid()}-{uuid.uuid4().hex[:4]}"
    with descriptor.exclusive():
        lab = descriptor.make(name)
    with contextlib.ExitStack() as stack:
        with descriptor.exclusive():
            lab.runtime.mkdir(parents=True)
            (lab.runtime / "index").write_text(str(lab.index))
            lock = stack.enter_context((lab.runtime / "daemon.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        bare = Bare(lab)
        try:
            bare.network.up()
            yield bare
        finally:
            bare.machines.close(graceful=False)
            bare.network.down()
    cleanup.clear(name)
    cleanup.remove_directory(name)
    cleanup.withdraw_shared()


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with bare_lab() as made:
        for id in (1, 2):
            made.create(id)
        made.create(3, vpc=2)
        for id in (1, 2, 3):
            made.wait(id)
        yield made


def test_has_its_own_identity(bare: Bare) -> None:
    what = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; hostname"
    first, second = bare.ssh(1, what).stdout, bare.ssh(2, what).stdout
    assert not set(first.split("\n")) & set(second.split("\n")) - {""}
    assert "m1" in first


def test_reboots_give_a_new_boot_and_forget_the_firewall(bare: Bare) -> None:
    seen = {bare.boot_id(1)}
    bare.ssh(1, "nft add table inet mine")
    bare.machines.reboot(1)
    seen.add(bare.boot_id(1))
    assert "mine" not in bare.ssh(1, "nft list tables").stdout
    bare.machines.power_cycle(1)
    seen.add(bare.boot_id(1))
    bare.ssh(1, "systemctl reboot", check=False)
    eventually(
        lambda: bare.ssh(1, "true", check=False).returncode == 0 and bare.boot_id(1) not in seen,
        "rebooted itself",
    )
    assert len(seen) == 3
    assert bare.ssh(1, "systemctl is-system-running --wait").stdout.strip() == "running"


def test_shutdown_and_start_keep_the_disk(bare: Bare) -> None:
    bare.ssh(2, "echo kept > /root/file; sync")
    bare.machines.shutdown(2)
    assert not bare.machines.running(2)
    assert bare.ssh(2, "true", check=False).returncode != 0
    bare.machines.start(2)
    bare.wait(2)
    assert bare.ssh(2, "cat /root/file").stdout == "kept\n"


def test_private_addresses_are_for_the_same_vpc(bare: Bare) -> None:
    assert bare.reaches(1, bare.specs[2].private_address)
    assert not bare.reaches(1, bare.specs[3].private_address)
    assert bare.reaches(1, bare.specs[3].public_address)


def test_source_addresses_cannot_be_made_up(bare: Bare) -> None:
    target = bare.specs[2].private_address
    bare.ssh(1, "ip address add 10.101.0.99/24 dev eth1")
    assert bare.ssh(1, f"ping -c1 -W1 {target}", check=False).returncode == 0
    assert bare.ssh(1, f"ping -c1 -W1 -I 10.101.0.99 {target}", check=False).returncode != 0
    bare.ssh(1, "ip address del 10.101.0.99/24 dev eth1")


def test_cloud_firewall_is_enforced_and_lifted(bare: Bare) -> None:
    other = bare.specs[1]
    only_first = DropletRules(2, (Rule("tcp", "22", (f"{other.private_address}/32",)),), OUT)
    bare.network.apply_firewalls([only_first])
    assert bare.ssh(2, "true", check=False).returncode != 0
    assert bare.reaches(1, bare.specs[2].private_address)
    assert not bare.reaches(1, bare.specs[2].public_address)
    assert not bare.reaches(3, bare.specs[2].public_address)
    bare.network.apply_firewalls([DropletRules(1, (Rule("tcp", "22", EVERYWHERE),), ())])
    assert bare.ssh(2, "true").returncode == 0
    assert not bare.reaches(1, bare.specs[2].public_address), "nothing is allowed out of m1"
    bare.network.apply_firewalls([])
    assert bare.reaches(1, bare.specs[2].public_address)


def test_reserved_address_leads_to_its_droplet(bare: Bare) -> None:
    address = bare.lab.public_range.replace(".0/24", ".200")

    def answers() -> str:
        probe = ["timeout", "3", "ssh-keyscan", "-t", "ed25519", address]
        return subprocess.run(probe, capture_output=True, text=True, check=False).stdout

    for id in (1, 2):
        bare.network.assign_reserved_ip(address, id)
        key = bare.ssh(id, "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub").stdout.strip()
        assert key in answers()
        assert bare.reaches(3, address)
    bare.network.assign_reserved_ip(address, None)
    assert answers() == ""


def test_memory_limit_holds(bare: Bare) -> None:
    hog = 'python3 -c "x = bytearray(700 << 20)"'
    assert bare.ssh(1, hog, check=False).returncode != 0
    unit = "systemd-run --wait -q -p MemoryMax=50M python3 -c 'x = bytearray(200 << 20)'"
    assert bare.ssh(1, unit, check=False).returncode != 0
    assert bare.ssh(1, unit.replace("200 <<", "20 <<")).returncode == 0


def test_the_groups_of_its_units_are_its_own(bare: Bare) -> None:
    bare.ssh(1, "systemd-run -q --unit=mine sleep 300")
    where = "find /sys/fs/cgroup -name mine.service"
    assert bare.ssh(1, where).stdout
    assert not bare.ssh(2, where).stdout
    bare.ssh(1, "systemctl stop mine")
    # What a boot left in them is gone by the next.
    for directory in cgroups.directories(f"{bare.lab.name}/1"):
        (directory / "left/behind").mkdir(parents=True)
    bare.boot_id(1)
    bare.machines.reboot(1)
    bare.boot_id(1)
    assert not [d for d in cgroups.directories(f"{bare.lab.name}/1") if (d / "left").exists()]


def test_snapshot_makes_a_droplet_with_its_own_keys(bare: Bare) -> None:
    bare.ssh(1, "echo snap > /root/snap")
    assert bare.machines.snapshot(1, "snapshot-1") > 0.1
    bare.create(4, image="snapshot-1", user_data="#!/bin/sh\necho $(hostname) > /root/ran\n")
    bare.machines.delete_snapshot("snapshot-1")
    bare.wait(4)
    assert bare.ssh(4, "cat /root/snap").stdout == "snap\n"
    eventually(lambda: bare.ssh(4, "cat /root/ran", check=False).stdout == "m4\n", "user data ran")
    bare.machines.rebuild(4, "debian-12-x64")
    bare.wait(4)
    assert bare.ssh(4, "cat /root/snap", check=False).returncode != 0
    assert not list(bare.lab.path.glob("snapshots/snapshot-1"))
    bare.machines.destroy(4)
    bare.machines.destroy(4)


def test_a_kept_lab_comes_back(bare: Bare) -> None:
    bare.ssh(1, "echo again > /root/again")
    bare.machines.power_off(3)
    before = bare.boot_id(1)
    bare.machines.close(graceful=True)
    bare.machines.resume()
    assert bare.boot_id(1) != before
    assert bare.ssh(1, "cat /root/again").stdout == "again\n"
    assert not bare.machines.running(3)
    bare.machines.start(3)
    bare.wait(3)


def test_nothing_is_left_of_a_lab_that_was_ended_or_killed() -> None:
    with bare_lab() as ended:
        ended.create(1)
        ended.wait(1)
        assert traces(ended.lab.name)
    assert traces(ended.lab.name) == []
    assert not ended.lab.path.exists()
    assert not ended.lab.runtime.exists()

    # Its machines still think that they have a network when they are closed: the same process goes on here.
    with pytest.raises(LabError, match="Cannot open network namespace"), bare_lab() as killed:
        killed.create(1)
        killed.wait(1)
        # What the next `up` does with a lab whose daemon is gone.
        cleanup.clear(killed.lab.name)
        assert traces(killed.lab.name) == []
    cleanup.remove_directory(killed.lab.name)
