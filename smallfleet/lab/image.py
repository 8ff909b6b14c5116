"""Images: roots made once by mmdebstrap, cached, and made again when their recipe changes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from smallfleet.lab import recipe
from smallfleet.lab.descriptor import LABS
from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run

CACHE = Path("/var/cache/smallfleet/images")
UNUSED = 24 * 3600  # seconds after which an image goes that no droplet stands on, when another is built


def root(slug: str, say: Callable[[str], None] = lambda text: None) -> Path:
    """The root directory of image `slug`, built if it is not there (20 to 60 s); `say` hears of a build."""
    final = CACHE / f"{slug}-{recipe.fingerprint(slug)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    CACHE.parent.chmod(0o755)
    _stamp(final).touch()
    if final.exists():
        return final
    with _lock(slug):
        if not final.exists():
            say(f"building image {slug} (once; cached in {CACHE})")
            _build(slug, final)
            _prune(slug, final)
    return final


def _stamp(image: Path) -> Path:
    """A file whose time says when the image was last asked for."""
    return image.with_name(f".{image.name}.used")


def _build(slug: str, final: Path) -> None:
    release = recipe.release(slug)
    if not Path(release.keyring).exists():
        package = f"{release.distribution}-archive-keyring"
        name = "ubuntu-keyring" if release.distribution == "ubuntu" else package
        raise LabError(
            f"{release.keyring} is missing: image {slug} needs it. Install it: apt-get install {name}"
        )
    partial = CACHE / f".{slug}.{os.getpid()}"
    _remove_partial(slug)
    archive = recipe.mirror(release.archive)
    source = f"deb [signed-by={release.keyring}] {archive} {release.suite} {release.components}"
    options = [f'--aptopt={key} "{value}"' for key, value in recipe.apt_options().items()]
    try:
        run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--mode=root",
            f"--include={','.join(recipe.packages())}",
            '--aptopt=Acquire::Languages "none"',
            "--dpkgopt=force-unsafe-io",
            *options,
            release.suite,
            str(partial),
            source,
        )
        _finish(slug, partial)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _finish(slug: str, root: Path) -> None:
    """Lay the recipe's files over the root and take out what every droplet must have of its own."""
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    for path in (root / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    for name, text in recipe.files(slug).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name in recipe.EXECUTABLE else 0o644)
    system = root / "etc/systemd/system"
    for unit, wants in recipe.ENABLED.items():
        (system / wants).mkdir(exist_ok=True)
        (system / wants / unit).symlink_to(f"/etc/systemd/system/{unit}")
    for unit in recipe.MASKED:
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    if list(recipe.LOCAL_CA.glob("*.crt")):
        run("chroot", str(root), "update-ca-certificates")
    for path in (root / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").touch()


def _prune(slug: str, keep: Path) -> None:
    """Remove images of other recipes that no droplet of any lab stands on, and none will in a moment."""
    used: set[str] = set()
    for path in LABS.glob("*/droplets/*/machine.json"):
        used.update(json.loads(path.read_text())["layers"])
    for path in LABS.glob("*/snapshots/*/layers.json"):
        used.update(json.loads(path.read_text()))
    for path in CACHE.glob(f"{slug}-*"):
        stamp = _stamp(path)
        last = stamp.stat().st_mtime if stamp.exists() else 0.0
        if path != keep and str(path) not in used and time.time() - last > UNUSED:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)


def _remove_partial(slug: str) -> None:
    """Remove what a build that was killed left; the lock is held, so nobody is building."""
    for path in CACHE.glob(f".{slug}.[0-9]*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _lock(slug: str) -> Iterator[None]:
    with (CACHE / f".{slug}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
