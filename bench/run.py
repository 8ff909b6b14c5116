"""How long the site deploy takes, side by side: smallfleet's connector, pyinfra's own SSH, and `ssh true`.

    fleet lab up && pyinfra inventory/lab.py deploys/site.py -y       # the droplets, provisioned
    python bench/run.py inventory/lab.py --runs 5 --delays 0 50 150 --output docs/speed.md

The ways are run in turn, so that what else the machine does meets all of them. Nothing is changed but, for
one row, a comment in a copy of NGINX's template. Figures: the median, and the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WAYS = {"smallfleet": "fast", "pyinfra's SSH": "plain"}
FLOOR = "`ssh true`, in parallel"


class Bench:
    """A copy of the owner's rooms, from which all runs are started."""

    def __init__(self, inventory: str, directory: Path) -> None:
        self.inventory, self.directory = inventory, directory
        for room in ("inventory", "roles", "templates", "deploys"):
            shutil.copytree(PROJECT / room, directory / room)
        if not (directory / inventory).exists():
            shutil.copy(inventory, directory / "inventory" / Path(inventory).name)
            self.inventory = f"inventory/{Path(inventory).name}"
        sys.path.insert(0, str(PROJECT))
        os.chdir(directory)
        from smallfleet.cloud.client import Client
        from smallfleet.cloud.survey import address, survey
        from smallfleet.inventory import load_inventory

        self.fleet = load_inventory(directory / self.inventory)
        found = survey(Client(self.fleet.end_point, self.fleet.token()), self.fleet)
        self.addresses = [str(address(droplet, "public")) for droplet in found.droplets.values()]
        self.template = directory / "templates/nginx/site.conf.j2"
        self.text, self.changes = self.template.read_text(), 0

    def proxy(self, delay: int) -> str:
        return f"{sys.executable} {PROJECT / 'bench/delay.py'} {delay} %h %p"

    def pyinfra(self, way: str, words: list[str], delay: int, wire: Path | None = None) -> float:
        """Seconds of one run of the site deploy."""
        environment = {
            **os.environ,
            "SMALLFLEET_CONNECTOR": WAYS[way],
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "PYINFRA_PROGRESS": "off",
        }
        command = [str(BIN / "pyinfra"), self.inventory, "deploys/site.py", *words]
        if delay or wire:
            config = self.directory / f"ssh-{delay}"
            config.write_text(f"Host *\n  ProxyCommand {self.proxy(delay)}\n")
            command += ["--data", f"ssh_config_file={config}"]
            environment["SMALLFLEET_BENCH_WIRE"] = str(wire or "")
        return timed(command, environment)

    def floor(self, delay: int) -> float:
        """Seconds until `ssh HOST true` has ended on all droplets, started at once."""
        options = [f"UserKnownHostsFile={self.fleet.known_hosts}", "BatchMode=yes", "ControlPath=none"]
        if delay:
            options.append(f"ProxyCommand={self.proxy(delay)}")
        words = ["ssh", "-F", "none", "-i", str(self.fleet.ssh_key)]
        words += [word for option in options for word in ("-o", option)]
        start = time.monotonic()
        running = [subprocess.Popen([*words, f"root@{at}", "true"]) for at in self.addresses]
        if any(one.wait() for one in running):
            raise SystemExit("ssh true failed")
        return time.monotonic() - start

    def change(self) -> None:
        self.changes += 1
        self.template.write_text(f"{self.text}# {self.changes}\n")


def timed(command: list[str], environment: dict[str, str]) -> float:
    start = time.monotonic()
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended {done.returncode}\n{done.stderr[-4000:]}")
    return time.monotonic() - start


def row(name: str, runs: int, works: Mapping[str, Callable[[], float]]) -> list[str]:
    """Run the works in turn, `runs` times after one that is not counted; the cells of a table's row."""
    times: dict[str, list[float]] = {way: [] for way in works}
    for number in range(runs + 1):
        for way, work in works.items():
            seconds = work()
            print(f"{name}, {way}: {seconds:.2f} s{'' if number else ' (not counted)'}", file=sys.stderr)
            if number:
                times[way].append(seconds)
    return [name, *(f"{statistics.median(t):.2f} ({min(t):.2f} to {max(t):.2f})" for t in times.values())]


def wire(bench: Bench, way: str, words: list[str]) -> list[str]:
    """Round trips and bytes per droplet, of all between client and sshd; the client's own work."""
    path = bench.directory / "wire"
    path.unlink(missing_ok=True)
    bench.pyinfra(way, words, 0, path)
    before = os.times()
    bench.pyinfra(way, words, 0)
    after = os.times()
    work = after.children_user + after.children_system - before.children_user - before.children_system
    end = time.monotonic() + 10  # the proxies write when the client is gone
    while len(said := path.read_text().splitlines() if path.exists() else []) < len(bench.addresses):
        if time.monotonic() > end:
            raise SystemExit("the proxies said nothing")
        time.sleep(0.1)
    per = {
        key: sum(json.loads(one)[key] for one in said) / len(bench.addresses)
        for key in ("turns", "out", "in")
    }
    return [way, f"{per['turns']:.0f}", f"{per['out'] / 1024:.0f}", f"{per['in'] / 1024:.0f}", f"{work:.2f}"]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def machine(load: float) -> str:
    """What the figures were measured on."""
    cpu = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.split(",")[0]
    return (
        f"{os.cpu_count()} processors ({cpu}), {memory:.0f} GiB of memory, Linux {platform.release()}, "
        f"Python {platform.python_version()}, pyinfra {version('pyinfra')}, {ssh}. The droplets are the "
        f"lab's, on the same machine, and share its processors. Its load before the first run was {load:.1f}"
        + (": busy with other things, so that the figures are too high, and spread." if load > 0.7 else ".")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("inventory")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--delays", type=int, nargs="*", default=[0], help="milliseconds added to the round trip"
    )
    parser.add_argument("--output", type=Path, help="where to write the tables; else they are printed")
    wanted = parser.parse_args()
    output = wanted.output.resolve() if wanted.output else None
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(wanted.inventory, Path(directory))

        def changed(way: str, delay: int) -> float:
            bench.change()
            return bench.pyinfra(way, ["-y"], delay)

        rows = []
        for delay in wanted.delays:
            late = f", {delay} ms round trip added" if delay else ""
            for name, words in (
                ("nothing to change, `--dry`", ["--dry"]),
                ("nothing to change, `-y`", ["-y"]),
            ):
                works = {way: partial(bench.pyinfra, way, words, delay) for way in WAYS}
                rows.append(row(name + late, wanted.runs, {**works, FLOOR: partial(bench.floor, delay)}))
            works = {way: partial(changed, way, delay) for way in WAYS}
            rows.append([*row(f"one template changed, `-y`{late}", wanted.runs, works), ""])
        bench.template.write_text(bench.text)
        bench.pyinfra("smallfleet", ["-y"], 0)  # as it was
        wires = [[f"`{words}`", *wire(bench, way, [words])] for words in ("--dry", "-y") for way in WAYS]
        droplets = len(bench.addresses)
    text = f"""# Speed

Written by `bench/run.py`. The site deploy on {droplets} provisioned droplets, in seconds: the median of
{wanted.runs} runs, and the least and the most. The ways are run in turn.

{machine(load)}

{table(["", *WAYS, FLOOR], rows)}
What passes between the client and each droplet's sshd, logging in included:

{table(["", "", "round trips", "KiB out", "KiB in", "the client's processor, s"], wires)}"""
    if output:
        output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
