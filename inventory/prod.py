"""The production fleet: eight droplets on one private network in New York."""

from smallfleet import Droplet, Firewall, Fleet

fleet = Fleet(
    name="prod",
    region="nyc3",
    image="debian-12-x64",
    vpc="10.116.0.0/24",
    domain="example.com",
    ssh_keys=["~/.ssh/id_ed25519.pub"],
    firewall=Firewall(ssh_from=["0.0.0.0/0", "::/0"]),
    droplets=[
        Droplet("podcast", size="s-1vcpu-1gb", roles=["podcast"]),
        Droplet("courses", size="s-1vcpu-2gb", roles=["courses"]),
        Droplet("bytes", size="s-1vcpu-1gb", roles=["bytes"]),
        Droplet("api", size="s-1vcpu-1gb", roles=["api"]),
        Droplet("search", size="s-1vcpu-1gb", roles=["search"]),
        Droplet("video", size="s-1vcpu-2gb", roles=["video"]),
        Droplet("media", size="s-1vcpu-512mb-10gb", roles=["media"]),
        Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"]),
    ],
)

# pyinfra reads each list as a group: one per role.
globals().update(fleet.groups())
