"""What every droplet has: packages' lists, people, SSH, time, swap, security updates, journal limits.

pyinfra inventory/prod.py deploys/base.py
"""

from pathlib import Path

from pyinfra import host, logger
from pyinfra.operations import apt, files, server, systemd

from smallfleet.context import Context
from smallfleet.facts.system import Container, Swaps
from smallfleet.operations import checked, drift, guarded, packages, several, system

DAY = 24 * 3600
TEMPLATES = Path("templates")
SWAP = "/swapfile"

droplet = Context.of(host)
base = droplet.role("base")
container = host.get_fact(Container)

# Packages. A new droplet sets itself up while it answers on SSH already, and both want apt.
system.set_up_by_cloud_init(name="Wait until the new droplet has set itself up")
several.files(
    name="Let apt wait for its turn",
    files={"/etc/apt/apt.conf.d/50smallfleet": 'DPkg::Lock::Timeout "300";\n'},
)
apt.update(name="Update the packages' lists, once a day", cache_time=DAY)
packages.installed(
    name="Install what every droplet has",
    packages=["sudo", "ca-certificates", "curl", "tzdata", "unattended-upgrades", "needrestart"],
    no_recommends=True,
)

# People. What could lock the owner out, the droplet undoes unless a fresh connection confirms it.
guarded.settled(name="Undo what an earlier run has not confirmed")
for user in base.users:
    guarded.user(
        name=f"Set up the user {user.name}",
        user=user.name,
        home=f"/home/{user.name}",
        shell="/bin/bash",
        create_home=True,
        public_keys=list(user.ssh_keys) or [key.read_text().strip() for key in droplet.fleet.ssh_keys],
        delete_keys=True,
        undo_seconds=base.undo_seconds,
    )
checked.file(
    name="Say who may become root",
    dest="/etc/sudoers.d/smallfleet",
    content=checked.render(TEMPLATES / "ssh/sudoers.j2", users=base.users),
    check="visudo -cf {candidate} >&2",
    mode="0440",
    undo_seconds=base.undo_seconds,
)

# SSH. The name sorts before cloud-init's: the first value counts.
checked.file(
    name="Let in by key only",
    dest="/etc/ssh/sshd_config.d/01-smallfleet.conf",
    content=checked.render(TEMPLATES / "ssh/smallfleet.conf.j2", ssh=base.ssh),
    check="sshd -t -f {candidate}",
    after=f"sshd -t && {guarded.RESTART_SSHD}",
    undo_seconds=base.undo_seconds,
)

# Time.
server.timezone(name="Set the time zone", timezone=base.timezone)
if container:
    host.log(f"time sync and swap are its host's: this is a container ({container})", logger.info)
else:
    apt.packages(name="Install time sync", packages=["systemd-timesyncd"], no_recommends=True)
    systemd.service(name="Keep the time", service="systemd-timesyncd.service", running=True, enabled=True)

# Swap.
if not container and base.swap:
    if SWAP not in host.get_fact(Swaps):
        server.shell(
            name="Make the swap file",
            commands=[
                f"fallocate -l {base.swap} {SWAP}.new && chmod 600 {SWAP}.new && mkswap {SWAP}.new && "
                f"mv {SWAP}.new {SWAP} && swapon {SWAP}"
            ],
        )
    files.line(
        name="Swap after a reboot too",
        path="/etc/fstab",
        line=rf"^{SWAP}\s.*$",
        replace=f"{SWAP} none swap sw 0 0",
    )

# Security updates.
several.files(
    name="Install security updates daily; reboot nothing and restart no service by itself",
    files={
        "/etc/apt/apt.conf.d/20auto-upgrades": checked.render(
            TEMPLATES / "apt/20auto-upgrades.j2", enabled=base.unattended_upgrades.enabled
        ),
        "/etc/apt/apt.conf.d/52unattended-upgrades-smallfleet": checked.render(
            TEMPLATES / "apt/52unattended-upgrades-smallfleet.j2"
        ),
        "/etc/needrestart/conf.d/smallfleet.conf": checked.render(TEMPLATES / "apt/needrestart.conf"),
    },
)

# Journal.
several.files(
    name="Limit the journal",
    files={
        "/etc/systemd/journald.conf.d/smallfleet.conf": checked.render(
            TEMPLATES / "systemd/journald.conf.j2", journald=base.journald
        )
    },
    then="systemctl restart systemd-journald.service",
)

# What was changed by hand.
drift.nothing_held(name="Hold no package back from updates")
drift.people(name="Let nobody else log in", users=[user.name for user in base.users])
drift.no_stray_dropins(name="Have no drop-ins of others for our units", units=droplet.units)
