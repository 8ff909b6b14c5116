"""The files that decide who comes in: remembered, and brought back."""

from __future__ import annotations

import base64
import os
import pwd
import shutil
import stat
from pathlib import Path
from typing import Any

# Directories whose files are all ours to bring back, and single files. Users' keys come on top.
DIRECTORIES = ["/etc/ssh", "/etc/sudoers.d"]
FILES = ["/etc/sudoers", "/etc/nftables.conf", "/etc/hosts.allow", "/etc/hosts.deny"]
FILES += [f"/etc/{name}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")]
KEYS = ("authorized_keys", "authorized_keys2")
LEFTOVERS = (".candidate", ".last")  # of an operation that is at work in the directory

Entry = dict[str, Any]  # kind, mode, uid, gid, and what is in it


def look(path: Path, shallow: bool = False) -> Entry | None:
    """What is at `path`; None if nothing is. `shallow`: who may use it, and not what is in it."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    entry: Entry = {"mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
    if stat.S_ISLNK(found.st_mode):
        return entry | {"kind": "link", "target": str(path.readlink())}
    if stat.S_ISDIR(found.st_mode):
        return entry | {"kind": "directory"}
    if stat.S_ISREG(found.st_mode) and not shallow:
        return entry | {"kind": "file", "content": base64.b64encode(path.read_bytes()).decode()}
    return None


def watched() -> list[Path]:
    """All paths that are remembered, and are there now; directories before what is in them."""
    paths = [Path(name) for name in FILES]
    for top in DIRECTORIES:
        paths.append(Path(top))
        paths += [path for path in sorted(Path(top).rglob("*")) if not path.name.endswith(LEFTOVERS)]
    for user in pwd.getpwall():
        home = Path(user.pw_dir)
        # sshd refuses keys in a home that others can write to, so the home's mode is remembered too.
        if (home / ".ssh").is_dir():
            paths += [home, home / ".ssh", *(home / ".ssh" / name for name in KEYS)]
    return [path for path in dict.fromkeys(paths) if look(path, shallow=True) or path.is_file()]


def remembered() -> dict[str, Entry]:
    entries = {str(path): look(path) for path in watched()}
    return {path: entry for path, entry in entries.items() if entry}


def bring_back(files: dict[str, Entry]) -> tuple[set[str], list[str]]:
    """Make the watched paths what `files` says; the paths that were changed, and what went wrong."""
    changed, problems = set(), []
    for path in [str(path) for path in reversed(watched()) if str(path) not in files]:
        try:
            if Path(path).is_dir() and not Path(path).is_symlink():
                if any(Path(path) == Path(top) or Path(top) in Path(path).parents for top in DIRECTORIES):
                    shutil.rmtree(path)
            else:
                Path(path).unlink()
                changed.add(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    for path, entry in files.items():
        try:
            if look(Path(path)) != entry:
                write(Path(path), entry)
                changed.add(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    return changed, problems


def write(path: Path, entry: Entry) -> None:
    """Put an entry in place, whole or not at all."""
    if entry["kind"] == "directory":
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, entry["uid"], entry["gid"])
        path.chmod(entry["mode"])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.undo")
    beside.unlink(missing_ok=True)
    if entry["kind"] == "link":
        beside.symlink_to(entry["target"])
    else:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64decode(entry["content"]))
            file.flush()
            os.fchown(descriptor, entry["uid"], entry["gid"])
            os.fchmod(descriptor, entry["mode"])
            os.fsync(descriptor)
    beside.replace(path)


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file of our own so that it is on the disk, whole, before anything else is done."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
