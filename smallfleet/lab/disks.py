"""Disks of droplets: an overlay on the layers of an image. Snapshots are such layers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from smallfleet.lab import image
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.errors import LabError
from smallfleet.lab.run import run


def layers(lab: Lab, name: str) -> list[str]:
    """The directories that image `name` is made of, uppermost first; builds them if need be."""
    if not name.startswith("snapshot-"):
        return [str(image.root(name))]
    directory = lab.path / "snapshots" / name
    if not (directory / "layers.json").exists():
        raise LabError(f"Lab {lab.name} has no image {name}.")
    return [str(directory / "disk"), *json.loads((directory / "layers.json").read_text())]


def mount(lab: Lab, id: int, lower: list[str]) -> Path:
    """Mount droplet `id`'s disk on its place under the runtime directory (if it is not); returns that."""
    root, home = lab.runtime / str(id), lab.path / "droplets" / str(id)
    if root.is_mount():
        return root
    root.mkdir(parents=True, exist_ok=True)
    for part in ("upper", "work"):
        (home / part).mkdir(parents=True, exist_ok=True)
    missing = [layer for layer in lower if not Path(layer).is_dir()]
    if missing:
        raise LabError(f"Droplet {id} stands on {missing[0]}, which is gone. Rebuild or destroy the droplet.")
    options = f"lowerdir={':'.join(lower)},upperdir={home}/upper,workdir={home}/work"
    run("mount", "-t", "overlay", "-o", options, f"smallfleet-{lab.name}", str(root))
    return root


def unmount(lab: Lab, id: int) -> None:
    root = lab.runtime / str(id)
    if root.is_mount():
        run("umount", str(root), check=False)
        if root.is_mount():
            run("umount", "--lazy", str(root))
    if root.exists():
        root.rmdir()


def wipe(lab: Lab, id: int) -> None:
    """Empty a droplet's disk; it must not be mounted."""
    for part in ("upper", "work"):
        shutil.rmtree(lab.path / "droplets" / str(id) / part, ignore_errors=True)


def take(lab: Lab, id: int, name: str, lower: list[str]) -> float:
    """Copy droplet `id`'s disk as image `name`; returns the size of the whole image in GiB."""
    final = lab.path / "snapshots" / name
    partial = final.with_name(f".{name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        run("sync", "--file-system", str(lab.path))
        # -a as root keeps overlayfs's whiteouts and opaque marks; --reflink where the file system can.
        run(
            "cp",
            "-a",
            "--reflink=auto",
            str(lab.path / "droplets" / str(id) / "upper"),
            str(partial / "disk"),
        )
        (partial / "layers.json").write_text(json.dumps(lower))
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sizes = [int(run("du", "-sxk", layer).split()[0]) for layer in [str(final / "disk"), *lower]]
    return round(sum(sizes) / 2**20, 2)


def collect(lab: Lab) -> None:
    """Remove snapshots that were deleted and that no droplet or other snapshot stands on any more."""
    used: set[str] = set()
    for path in lab.path.glob("droplets/*/machine.json"):
        used.update(json.loads(path.read_text())["layers"])
    for path in lab.path.glob("snapshots/*/layers.json"):
        used.update(json.loads(path.read_text()))
    for path in lab.path.glob("snapshots/*/deleted"):
        if str(path.parent / "disk") not in used:
            shutil.rmtree(path.parent, ignore_errors=True)
