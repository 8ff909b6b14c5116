"""Files that hold secrets. This is the only way that a secret reaches a droplet."""

from __future__ import annotations

import hashlib
from io import StringIO
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation

from smallfleet.facts.files import FileState
from smallfleet.operations import Commands
from smallfleet.secrets import Secret

# In memory, never on a disk; for root alone. SFTP makes files with mode 0644: the directory protects them.
UPLOADS = "/run/smallfleet-uploads"


def digest(content: str | Secret) -> str:
    """SHA-256 of the text, as sha256sum prints it."""
    text = content.reveal() if isinstance(content, Secret) else content
    return hashlib.sha256(text.encode()).hexdigest()


def upload(dest: str, content: str | Secret, user: str, group: str, mode: str) -> Commands:
    """Commands that put `content` at `dest`, whole or not at all; for operations that do more than that."""
    text = content.reveal() if isinstance(content, Secret) else content
    path = PurePosixPath(dest)
    name = hashlib.sha256(dest.encode()).hexdigest()[:16]
    uploaded, beside = f"{UPLOADS}/{name}", str(path.parent / f".{path.name}.new")
    yield StringCommand("install", "-d", "-m", "0700", "-o", "root", "-g", "root", UPLOADS)
    yield FileUploadCommand(StringIO(text), uploaded)
    yield StringCommand(
        *("install", "-m", mode, "-o", user, "-g", group, uploaded, QuoteString(beside)),
        *("&&", "mv", "-f", QuoteString(beside), QuoteString(dest), ";"),
        *("status=$?;", "rm", "-f", uploaded, QuoteString(beside), ";", "exit", "$status"),
    )


@operation()
def file(
    dest: str, content: str | Secret, user: str = "root", group: str = "root", mode: str = "0400"
) -> Commands:
    """
    Put a file that holds a secret onto the droplet. Nothing of it is ever printed; always give `name=`.

    + dest: absolute path; its directory must be there
    + content: the text, or text that was made from secrets
    + user, group, mode: who may read it (mode as octal text)
    """
    state = host.get_fact(FileState, path=dest)
    wanted = {"sha256": digest(content), "user": user, "group": group, "mode": mode.lstrip("0")}
    if state == wanted:
        host.noop(f"{dest} is as it should be")
        return
    yield from upload(dest, content, user, group, mode)
