"""Config files that are checked before they go live."""

from __future__ import annotations

import hashlib
from io import StringIO
from pathlib import PurePosixPath

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from smallfleet.facts.files import FileState
from smallfleet.operations import Commands
from smallfleet.operations.guarded import guarded
from smallfleet.rendering import render

__all__ = ["file", "is_there", "render", "show_diff"]


def is_there(dest: str, content: str, mode: str) -> bool:
    """Whether root's file `dest` holds `content` with the mode `mode`."""
    wanted = {"sha256": hashlib.sha256(content.encode()).hexdigest(), "user": "root", "group": "root"}
    return host.get_fact(FileState, path=dest) == wanted | {"mode": mode.lstrip("0")}


def show_diff(dest: str, content: str) -> None:
    """What will change in `dest`, where the owner asked for diffs. Not for secrets."""
    if state.config.DIFF:
        host.log(f"Will write {dest}", logger.info)
        now = [f"{line}\n" for line in host.get_fact(FileContents, path=dest) or []]
        for line in generate_color_diff(now, content.splitlines(keepends=True)):
            logger.info("  %s", line)


@operation()
def file(
    dest: str,
    content: str,
    check: str,
    after: str = "true",
    back: str = "true",
    mode: str = "0644",
    undo_seconds: int | None = None,
) -> Commands:
    """
    Put a config file in place if a check of the candidate passes; one that is refused changes nothing.

    + dest: absolute path, root's
    + content: the text
    + check: shell command; the candidate's path is put in place of {candidate}
    + after: shell command that makes it live; if it fails, the file that was there before is put back
    + back: shell command that makes that one live again
    + mode: octal text
    + undo_seconds: the droplet goes back by itself after so many, unless a fresh connection confirms that
      the owner is not locked out; None for what cannot do that
    """
    if is_there(dest, content, mode):
        host.noop(f"{dest} is as it should be")
        return
    show_diff(dest, content)
    path = PurePosixPath(dest)
    # Programs that read whole directories pass over such names (sudo: a dot; sshd: no .conf at the end).
    candidate, last = str(path.parent / f".{path.name}.candidate"), str(path.parent / f".{path.name}.last")
    yield FileUploadCommand(StringIO(content), candidate)
    new, old, live = (QuoteString(name) for name in (candidate, last, dest))
    yield StringCommand(
        *("chown", "root:root", new, "&&", "chmod", mode, new, "&&", check.format(candidate=candidate)),
        *("||", "{", "status=$?;", "rm", "-f", new, ";", "exit", "$status;", "}"),
    )
    swap = StringCommand(
        *("rm", "-f", old, ";", "test", "!", "-e", live, "||", "cp", "-p", live, old, ";"),
        *("mv", "-f", new, live, "&&", "{", after, ";", "}", "||", "{", "status=$?;"),
        *("if", "test", "-e", old, ";", "then", "mv", "-f", old, live, ";"),
        *(
            "else",
            "rm",
            "-f",
            live,
            ";",
            "fi;",
            "{",
            back,
            ";",
            "};",
            "exit",
            "$status;",
            "}",
            ";",
            "rm",
            "-f",
            old,
        ),
    )
    yield from [swap] if undo_seconds is None else guarded([swap], dest, undo_seconds)
