"""The same roles on one droplet; in the lab when $SMALLFLEET_LAB names one."""

import os

from smallfleet import Droplet, Firewall, Fleet

fleet = Fleet(
    name="single",
    region="nyc3",
    image="debian-12-x64",
    vpc="10.117.0.0/24",
    domain="example.com",
    ssh_keys=["~/.ssh/id_ed25519.pub"],
    firewall=Firewall(ssh_from=["0.0.0.0/0", "::/0"]),
    droplets=[
        Droplet(
            "single",
            size="s-2vcpu-4gb",
            roles=["podcast", "courses", "bytes", "api", "search", "video", "media", "mongodb"],
        ),
    ],
)
if os.environ.get("SMALLFLEET_LAB"):
    fleet = fleet.in_lab()

globals().update(fleet.groups())
