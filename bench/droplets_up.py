"""How long eight droplets take in the lab, from the cached image until each answers on SSH.

    python bench/droplets_up.py [--droplets 8] [--runs 5]

As root on an otherwise idle machine. Each run makes a lab of its own, and ends it; prints seconds per run.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from smallfleet.cloud.client import Client
from smallfleet.lab import image, lifecycle
from smallfleet.lab.descriptor import Lab
from smallfleet.secrets import Secret


def wait_for_ssh(address: str, end: float) -> None:
    """Return when a server at `address` has said its SSH version; TimeoutError after `end` (monotonic)."""
    while time.monotonic() < end:
        try:
            with socket.create_connection((address, 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{address} does not answer on SSH")


def once(lab: Lab, count: int) -> tuple[float, float]:
    """Make `count` droplets; seconds until all are active, and until all answer on SSH."""
    client = Client(lab.api, Secret(lab.token))
    started = time.monotonic()
    names = [f"d{number}" for number in range(count)]
    body = {"names": names, "region": "nyc3", "size": "s-1vcpu-1gb", "image": lifecycle.DEFAULT_IMAGE}
    client.make("droplets", body, lambda: None)
    while True:
        droplets = client.get("droplets")["droplets"]
        if len(droplets) == count and all(droplet["status"] == "active" for droplet in droplets):
            break
        if time.monotonic() > started + 120:
            raise TimeoutError("the droplets are not active after 120 s")
        time.sleep(0.1)
    active = time.monotonic() - started
    addresses = [
        network["ip_address"]
        for droplet in droplets
        for network in droplet["networks"]["v4"]
        if network["type"] == "public"
    ]
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda address: wait_for_ssh(address, started + 120), addresses))
    return active, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--droplets", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    wanted = parser.parse_args()
    image.root(lifecycle.DEFAULT_IMAGE, print)
    print(f"{wanted.droplets} droplets, {os.cpu_count()} processors, {platform.release()}")
    seconds = []
    for number in range(1, wanted.runs + 1):
        name = f"bench{os.getpid()}-{number}"
        lab = lifecycle.up(name, lambda text: None)
        try:
            active, answering = once(lab, wanted.droplets)
        finally:
            lifecycle.down(name, keep=False)
        seconds.append(answering)
        print(f"run {number}: active after {active:.1f} s, SSH on all after {answering:.1f} s", flush=True)
    print(f"median {statistics.median(seconds):.1f} s, from {min(seconds):.1f} to {max(seconds):.1f} s")


if __name__ == "__main__":
    main()
