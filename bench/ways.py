"""The ways that are compared. Each makes one run of the site deploy over all droplets, and says how long."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.rooms import BIN, PROJECT, Rooms, addresses
from smallfleet.model.fleet import Fleet
from smallfleet.operations import nginx

PLAYBOOK = PROJECT / "bench/ansible"
VENV = PROJECT / "bench/.venv"
REQUIREMENTS = PROJECT / "bench/requirements.txt"
LAY = "cd /etc/nginx && rm -rf candidate && mkdir candidate && cp -r nginx.conf sites candidate/"
SSH_ARGS = "-o ControlMaster=auto -o ControlPersist=60s"


@dataclass(frozen=True)
class Run:
    """`cpu`: seconds of the client's processors. `changes`: how many operations or tasks changed a droplet;
    None where that is not said."""

    seconds: float
    cpu: float
    changes: int | None


def timed(command: list[str], environment: Mapping[str, str], directory: Path) -> tuple[float, float, str]:
    """Seconds, seconds of processors, and output of a command; ends the benchmark if it fails."""
    start, before = time.monotonic(), worked()
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, cpu = time.monotonic() - start, worked() - before
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended {done.returncode}\n{done.stdout}\n{done.stderr}")
    return seconds, cpu, done.stdout + done.stderr


def worked() -> float:
    """Seconds that this process's children have kept processors busy."""
    times = os.times()
    return times.children_user + times.children_system


def proxy(delay: int) -> str:
    return f"{sys.executable} {PROJECT / 'bench/delay.py'} {delay} %h %p"


class Way:
    """One way to run the deploy over the droplets of `rooms`, which are `fleet`'s."""

    title = ""
    rows: tuple[str, ...] = ("nothing", "template", "first")  # what it can be measured in

    def __init__(self, rooms: Rooms, fleet: Fleet) -> None:
        self.rooms, self.fleet = rooms, fleet

    def run(self, delay: int, dry: bool = False, wire: Path | None = None) -> Run:
        """Run it with `delay` ms added to the round trip; what passes is counted into the file `wire`."""
        raise NotImplementedError

    def plan(self) -> Run:
        """Have it say what a run would change, by a command made for that."""
        raise NotImplementedError

    def reload(self) -> Run:
        """Have NGINX try and take a configuration on all droplets that have it, and nothing more."""
        raise NotImplementedError

    def environment(self, wire: Path | None) -> dict[str, str]:
        return {**self.rooms.environment(), **({"SMALLFLEET_BENCH_WIRE": str(wire)} if wire else {})}


class Smallfleet(Way):
    title, connector = "smallfleet", "fast"
    rows = ("plan", "dry", *Way.rows)

    def run(self, delay: int, dry: bool = False, wire: Path | None = None) -> Run:
        command = [str(BIN / "pyinfra"), self.rooms.inventory, "deploys/site.py", "--dry" if dry else "-y"]
        if delay or wire:
            config = self.rooms.directory / f"ssh-{delay}"
            config.write_text(f"Host *\n  ProxyCommand {proxy(delay)}\n")
            command += ["--data", f"ssh_config_file={config}"]
        environment = {**self.environment(wire), "SMALLFLEET_CONNECTOR": self.connector}
        seconds, cpu, output = timed(command, environment, self.rooms.directory)
        return Run(seconds, cpu, None if dry else changes_in_table(output))

    def plan(self) -> Run:
        command = [str(BIN / "fleet"), "plan", self.rooms.inventory, "deploys/site.py"]
        environment = {**self.environment(None), "SMALLFLEET_CONNECTOR": self.connector}
        return Run(*timed(command, environment, self.rooms.directory)[:2], None)


class Pyinfra(Smallfleet):
    title, connector = "pyinfra's SSH", "plain"
    rows = ("dry", *Way.rows)


class Ansible(Way):
    title, strategy = "Ansible", "linear"

    def __init__(self, rooms: Rooms, fleet: Fleet) -> None:
        super().__init__(rooms, fleet)
        install()
        self.private = rooms.directory / "ansible"
        words = [sys.executable, str(PLAYBOOK / "inventory.py"), rooms.inventory, str(self.private)]
        timed(words, rooms.environment(), rooms.directory)

    def command(self) -> list[str]:
        return [
            *(str(VENV / "bin/ansible-playbook"), "-i", str(self.private / "hosts.json")),
            *("--forks", str(len(self.fleet.droplets)), str(PLAYBOOK / "site.yml")),
        ]

    def run(self, delay: int, dry: bool = False, wire: Path | None = None) -> Run:
        # Every way logs in once in each run, so a connection that the last one has kept is not used again.
        with tempfile.TemporaryDirectory(prefix="bench-") as kept:
            args = SSH_ARGS + (f" -o {shlex.quote('ProxyCommand=' + proxy(delay))}" if delay or wire else "")
            environment = {
                **self.environment(wire),
                "ANSIBLE_CONFIG": str(PLAYBOOK / "ansible.cfg"),
                "ANSIBLE_HOME": str(self.rooms.directory / "ansible-home"),
                "ANSIBLE_SSH_ARGS": args,
                "ANSIBLE_SSH_CONTROL_PATH_DIR": kept,
                "ANSIBLE_STRATEGY": self.strategy,
                "ANSIBLE_STRATEGY_PLUGINS": str(strategies()),
            }
            try:
                seconds, cpu, output = timed(self.command(), environment, self.rooms.directory)
            finally:
                for socket in Path(kept).iterdir():
                    words = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "droplet"]
                    with suppress(OSError):
                        subprocess.run(words, capture_output=True, check=False)
        return Run(seconds, cpu, changes_in_recap(output))


class Mitogen(Ansible):
    title, strategy = "Ansible with Mitogen", "mitogen_linear"


class Floor(Way):
    title = "`ssh true`, in parallel"
    rows = ("dry", "nothing", "reload")

    def __init__(self, rooms: Rooms, fleet: Fleet) -> None:
        super().__init__(rooms, fleet)
        self.addresses = addresses(fleet)

    def run(self, delay: int, dry: bool = False, wire: Path | None = None) -> Run:
        """Seconds until `ssh HOST true` has ended on all droplets, started at once."""
        return self._all(dict.fromkeys(self.addresses, "true"), delay, wire)

    def reload(self) -> Run:
        """The configuration that is there is tried and taken, as by deploys/nginx.py; logging in included."""
        commands = {}
        for name in self.addresses:
            apps = [role for role in self.fleet.apps if role.name in self.fleet.roles_of(name)]
            if apps:
                sites = shlex.quote(json.dumps([nginx.site(app) for app in apps]))
                commands[name] = f"{LAY} && exec python3 {nginx.PROGRAM} {sites}"
        return self._all(commands, 0, None)

    def _all(self, commands: Mapping[str, str], delay: int, wire: Path | None) -> Run:
        """Run a command on each of these droplets, all at once."""
        options = [f"UserKnownHostsFile={self.fleet.known_hosts}", "BatchMode=yes", "ControlPath=none"]
        if delay or wire:
            options.append(f"ProxyCommand={proxy(delay)}")
        words = ["ssh", "-F", "none", "-i", str(self.fleet.ssh_key)]
        words += [word for option in options for word in ("-o", option)]
        start, before = time.monotonic(), worked()
        environment = self.environment(wire)
        running = [
            subprocess.Popen([*words, f"root@{self.addresses[name]}", command], env=environment)
            for name, command in commands.items()
        ]
        if any([one.wait() for one in running]):
            raise SystemExit("ssh failed")
        return Run(time.monotonic() - start, worked() - before, None)


WAYS: dict[str, type[Way]] = {
    "smallfleet": Smallfleet,
    "pyinfra": Pyinfra,
    "ansible": Ansible,
    "mitogen": Mitogen,
    "floor": Floor,
}


def changes_in_table(output: str) -> int:
    """How many operations changed a droplet, each counted on each: from pyinfra's last table."""
    found = re.search(r"^\s*Grand total\s+\S+\s+(\S+)\s+(\S+)\s+(\S+)", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pyinfra has not said what it changed:\n{output[-4000:]}")
    return 0 if found[1] == "-" else int(found[1])


def changes_in_recap(output: str) -> int:
    """How many tasks changed a droplet, each counted on each: from Ansible's recap."""
    return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", output))


def strategies() -> Path:
    return next(VENV.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))


def install() -> None:
    """Have Ansible and Mitogen at their locked versions, in a venv of the benchmark's own."""
    stamp = VENV / ".installed"
    wanted = REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("installing Ansible and Mitogen into bench/.venv", file=sys.stderr)
    commands = [
        [sys.executable, "-m", "venv", str(VENV)],
        [
            *(str(BIN / "uv"), "pip", "sync", "-q", "--compile-bytecode", "--require-hashes"),
            *("--python", str(VENV), str(REQUIREMENTS)),
        ],
    ]
    for command in commands:
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{' '.join(command)} failed")
    stamp.write_text(wanted)


def versions() -> str:
    """The versions of what is compared with: "ansible-core 2.19.1, mitogen 0.3.5"."""
    found = re.findall(r"^(ansible-core|mitogen)==([^ ;]+)", REQUIREMENTS.read_text(), re.MULTILINE)
    return ", ".join(f"{name} {version}" for name, version in found)
