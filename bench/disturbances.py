"""What is done to the droplets by hand before a deploy is run, so that it has something to change.

`{app}` in a command is the droplet's name, which is its app's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WEB, MONGO, ALL, ONE = "web", "mongo", "*", "podcast"  # which droplets
SEED = "/opt/smallfleet"


@dataclass(frozen=True)
class Edit:
    """A shell command of root's on the droplets `where`: WEB, MONGO, ALL, or one by name."""

    where: str
    command: str

    def on(self, droplets: Sequence[str]) -> list[str]:
        """Those of the droplets that it is for."""
        if self.where == ALL:
            return list(droplets)
        if self.where == WEB:
            return [name for name in droplets if name != MONGO]
        return [name for name in droplets if name == self.where]


@dataclass(frozen=True)
class Case:
    """A deploy script and what was done before it runs.

    `words`: pyinfra's, after the script. `before`: what is to change, none for a run with nothing to do.
    `after`: what puts the droplets back where the run does not. `fails`: whether a step is to fail.
    """

    deploy: str
    title: str
    before: tuple[Edit, ...] = ()
    after: tuple[Edit, ...] = ()
    words: tuple[str, ...] = ()
    fails: bool = False


BASE = (
    Edit(ALL, "rm /etc/systemd/journald.conf.d/smallfleet.conf"),
    Edit(ALL, "echo '# mine' >> /etc/apt/apt.conf.d/50smallfleet"),
    Edit(WEB, "chmod 600 /etc/sudoers.d/smallfleet"),
    Edit(MONGO, "echo '# mine' >> /etc/ssh/sshd_config.d/01-smallfleet.conf"),
    Edit(WEB, "ln -sf /usr/share/zoneinfo/Europe/Paris /etc/localtime; echo Europe/Paris > /etc/timezone"),
    Edit(MONGO, "apt-mark hold tzdata >/dev/null"),
    Edit(ONE, "id mallory >/dev/null 2>&1 || useradd -m -s /bin/bash mallory; usermod -e '' mallory"),
    Edit(
        WEB,
        "mkdir -p /etc/systemd/system/nginx.service.d && "
        "printf '[Service]\\nNice=5\\n' > /etc/systemd/system/nginx.service.d/mine.conf",
    ),
)
FIREWALL = (
    Edit(WEB, "nft add rule inet smallfleet input tcp dport 8080 accept"),
    Edit(MONGO, "echo '# mine' >> /etc/nftables.conf"),
    Edit(ONE, "nft add table ip mine"),
    Edit(ALL, "systemctl disable -q nftables.service"),
)
MONGODB = (
    Edit(MONGO, "echo '# mine' >> /etc/mongod.conf"),
    Edit(MONGO, "systemctl disable -q mongod.service"),
    Edit(MONGO, "rm /etc/apt/sources.list.d/mongodb.list"),
    Edit(MONGO, "rm /usr/local/bin/uv"),
    Edit(MONGO, f"echo '# mine' >> {SEED}/mongodb/requirements.txt"),
    Edit(MONGO, "chmod 644 /etc/smallfleet/mongodb/users.json"),
)
NGINX = (
    Edit(WEB, "echo '# mine' >> /etc/nginx/nginx.conf"),
    Edit(WEB, "echo 'server { listen 81; }' > /etc/nginx/sites/stray.conf"),
    Edit(ONE, "ln -s ../sites-available/default /etc/nginx/sites-enabled/default"),
    Edit(WEB, "systemctl disable -q --now smallfleet-maintenance.path"),
    Edit(ONE, "chmod 700 /var/lib/smallfleet/maintenance/pages"),
    Edit(WEB, "rm /etc/systemd/system/smallfleet-maintenance.service"),
)
TLS = (
    Edit(WEB, "systemctl disable -q --now certbot.timer"),
    Edit(WEB, "echo '# mine' >> /etc/letsencrypt/renewal-hooks/deploy/smallfleet-nginx"),
)
# Not for the site deploy: NGINX's own is tried before, and refused where sites have no good certificate.
PLACEHOLDER = (
    "for file in fullchain.pem privkey.pem; do "
    "ln -sfn /etc/nginx/tls/placeholder/$file /etc/nginx/tls/{app}.example.com/$file; done"
)
LOST = "cd /etc/letsencrypt && rm -r live/{app} archive/{app} renewal/{app}.conf"
UWSGI = (
    Edit(WEB, "echo '# mine' >> /etc/uwsgi/{app}.ini"),
    Edit(WEB, "rm /etc/systemd/system/{app}@.service"),
    Edit(ONE, "chown {app} /srv/{app}/releases"),
    Edit(WEB, "systemctl disable -q {app}.socket"),
    Edit(ONE, "chmod 755 /srv/{app}/.cache"),
)
WEBAPP = (
    Edit(WEB, "chmod 444 /etc/smallfleet/apps/{app}.env"),
    Edit(ONE, "echo 'GREETING=\"hello\"' >> /etc/smallfleet/apps/{app}.env"),
    Edit(WEB, "rm /usr/local/sbin/smallfleet-release"),
    Edit(WEB, "echo >> /etc/smallfleet/apps/{app}.json"),
)


def blocked(deploy: str, where: str, path: str) -> Case:
    """A case in which a step fails on some droplets, and what comes after it is not begun there."""
    aside = f"{path}.aside"
    return Case(
        deploy,
        "a directory where a file belongs",
        (Edit(where, f"mv {path} {aside} && mkdir {path} && touch {path}/mine"),),
        (Edit(where, f"rm -rf {path} && mv {aside} {path}"),),
        fails=True,
    )


STOPPED = "a unit stopped"
WORDS = {"maintenance": ("--data", "maintenance=off")}  # of deploys that want some, where nothing is to do
NOTHING_TO_DO = (
    *("base", "firewall", "mongodb", "nginx", "tls", "uwsgi", "webapp", "names", "members", "site"),
    *("maintenance", "patch"),
)
ON = "/usr/local/sbin/smallfleet-maintenance on {app} --for 600 --reason 'by hand'"
OFF = "/usr/local/sbin/smallfleet-maintenance off {app}"
NEW_RELEASE = "/usr/local/sbin/smallfleet-release deploy {app} --force --author bench"

CASES = (
    Case("base", "edited by hand", BASE, (Edit(ONE, "userdel -r mallory 2>/dev/null || true"),)),
    blocked("base", WEB, "/etc/systemd/journald.conf.d/smallfleet.conf"),
    Case("firewall", "edited by hand", FIREWALL),
    Case("mongodb", "edited by hand", MONGODB),
    Case("mongodb", STOPPED, (Edit(MONGO, "systemctl stop mongod"),)),
    Case("nginx", "edited by hand", NGINX),
    Case("nginx", STOPPED, (Edit(WEB, "systemctl stop nginx"),)),
    blocked("nginx", ONE, "/usr/local/sbin/smallfleet-maintenance"),
    Case("tls", "edited by hand", (*TLS, Edit(ONE, PLACEHOLDER))),
    Case("tls", "a certificate lost", (Edit(ONE, LOST),)),
    Case("uwsgi", "edited by hand", UWSGI),
    Case("uwsgi", STOPPED, (Edit(WEB, "systemctl stop {app}.socket"),)),
    Case("webapp", "edited by hand", WEBAPP),
    Case(
        "site",
        "all of that edited by hand",
        (*BASE, *FIREWALL, *MONGODB, *NGINX, *TLS, *UWSGI, *WEBAPP),
        (Edit(ONE, "userdel -r mallory 2>/dev/null || true"),),
    ),
    Case(
        "maintenance",
        "on",
        after=(Edit(WEB, OFF),),
        words=("--data", "maintenance=on", "--data", "seconds=600", "--data", "message=Back soon"),
    ),
    Case("maintenance", "off", (Edit(WEB, ON),), words=("--data", "maintenance=off")),
    Case(
        "rollback",
        "after a new release",
        (Edit(ONE, NEW_RELEASE),),
        (Edit(ONE, NEW_RELEASE),),
        words=("--limit", ONE),
    ),
    Case(
        "patch",
        "a unit stopped, one droplet to reboot",
        # Not NGINX: a patch day starts what sites elsewhere wait for, and refuses where one does not answer.
        (Edit(MONGO, "systemctl stop mongod"), Edit(ONE, "touch /run/reboot-required")),
    ),
)
