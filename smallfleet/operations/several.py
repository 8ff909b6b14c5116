"""Several files or directories in one operation, which asks the droplet one question about all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation

from smallfleet.facts.files import Directories, FileStates
from smallfleet.operations import Commands
from smallfleet.operations.checked import show_diff


def differing(files: Mapping[str, str], mode: str) -> list[str]:
    """The paths that do not hold their text as root's file of the mode."""
    there = host.get_fact(FileStates, paths=list(files))
    return [path for path, text in files.items() if there.get(path) != wanted(text, mode)]


def wanted(text: str, mode: str) -> dict[str, str]:
    """The `State` of root's file that holds the text."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"sha256": digest, "user": "root", "group": "root", "mode": mode.lstrip("0")}


@operation()
def files(files: Mapping[str, str], mode: str = "644", then: str | None = None) -> Commands:
    """
    Have root's files hold texts; their directories are made.

    + files: {absolute path: text}
    + mode: octal text, of all
    + then: shell command that has them read, once they are changed
    """
    changed = differing(files, mode)
    if not changed:
        host.noop("the files are as they should be")
        return
    for path in changed:
        show_diff(path, files[path])
        parent = PurePosixPath(path).parent
        # Aside first, by a name that programs pass over which read whole directories: never half a file.
        new = QuoteString(str(parent / f".{PurePosixPath(path).name}.new"))
        yield StringCommand("mkdir", "-p", QuoteString(str(parent)))
        yield FileUploadCommand(StringIO(files[path]), str(parent / f".{PurePosixPath(path).name}.new"))
        yield StringCommand(
            *("chown", "root:root", new, "&&", "chmod", mode, new, "&&"),
            *("mv", "-fT", new, QuoteString(path)),
        )
    if then:
        yield StringCommand(then)


@operation()
def directories(paths: Sequence[str], user: str = "root", group: str = "root", mode: str = "755") -> Commands:
    """
    Have directories; their parents are made.

    + paths: absolute, parents first
    + user, group: whose they are
    + mode: octal text, of all
    """
    there = host.get_fact(Directories, paths=list(paths))
    right = {"user": user, "group": group, "mode": mode.lstrip("0")}
    changed = [path for path in paths if there.get(path) != right]
    if not changed:
        host.noop("the directories are as they should be")
        return
    options = ("-o", QuoteString(user), "-g", QuoteString(group), "-m", mode)
    yield StringCommand("install", "-d", *options, *(QuoteString(path) for path in changed))
