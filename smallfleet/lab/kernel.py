"""Settings of the machine's kernel that labs need while they are up, and what they were before."""

from __future__ import annotations

from pathlib import Path

from smallfleet.lab.descriptor import RUNTIME

# Packets are routed between labs' links and the machine's own. And each droplet's systemd holds some ten
# of root's inotify instances, of which the kernel allows 128: with a dozen droplets, the next cannot start.
WANTED = {
    Path("/proc/sys/net/ipv4/ip_forward"): 1,
    Path("/proc/sys/fs/inotify/max_user_instances"): 8192,
    Path("/proc/sys/fs/inotify/max_user_watches"): 524288,
}


def _saved(setting: Path) -> Path:
    return RUNTIME / f"{setting.name}.before"


def prepare() -> None:
    """Raise each setting to what labs need; what it was is kept for `restore`. The labs' lock is held."""
    for setting, value in WANTED.items():
        before = int(setting.read_text())
        if before < value:
            if not _saved(setting).exists():
                _saved(setting).write_text(f"{before}\n")
            setting.write_text(f"{value}\n")


def restore() -> None:
    """Give back what `prepare` changed. Call with the labs' lock held, once no lab is left."""
    for setting in WANTED:
        saved = _saved(setting)
        if saved.exists():
            setting.write_text(saved.read_text())
            saved.unlink()
