"""The app's environment: one for all its releases, since a secret that was changed must reach an old one too.

The wanted one (NAME.env) is laid down by the deploys, and a candidate is tried with it. Those that serve have
their own copy (NAME.serving.env): a wanted one that is bad does no harm, not even by a reboot.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import unquote

from smallfleet.programs.release.app import App


def previous_environment(app: App) -> Path:
    return app.environment.with_name(f"{app.name}.previous.env")


def take_environment(app: App) -> None:
    """Let the releases that serve have the wanted environment; `give_back_environment` undoes it."""
    if app.environment.exists():
        copy_secret(app.environment, previous_environment(app))
    copy_secret(app.wanted_environment, app.environment)


def give_back_environment(app: App) -> None:
    if previous_environment(app).exists():
        previous_environment(app).replace(app.environment)


def keep_environment(app: App) -> None:
    """The one that was taken has proved itself: nothing is given back."""
    previous_environment(app).unlink(missing_ok=True)


def copy_secret(source: Path, target: Path) -> None:
    """Replace a file by another's content, readable by root alone from the first moment on."""
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as file, source.open("rb") as content:
        shutil.copyfileobj(content, file)
    new.replace(target)


def hide(app: App, text: str) -> str:
    """The text with the values of the app's secrets taken out, as an app may have said them itself."""
    for value in sorted(secret_values(app), key=len, reverse=True):
        text = text.replace(value, "(secret)")
    return text


def secret_values(app: App) -> set[str]:
    """The secrets' values, and the passwords in those that are URLs."""
    found: set[str] = set()
    for file in (app.wanted_environment, app.environment, previous_environment(app)):
        lines = file.read_text().splitlines() if file.is_file() else []
        for name, _, text in (line.partition("=") for line in lines):
            if name in app.secrets:
                value = unquoted(text)
                found.add(value)
                if "://" in value and "@" in value:
                    password = value.split("://", 1)[1].rsplit("@", 1)[0].partition(":")[2]
                    found |= {password, unquote(password)}
    return {value for value in found if len(value) > 3}


def unquoted(text: str) -> str:
    """A value of systemd's EnvironmentFile= as smallfleet writes it: quoted, special characters escaped."""
    inner, plain = iter(text.removeprefix('"').removesuffix('"')), ""
    for character in inner:
        plain += next(inner, "") if character == "\\" else character
    return plain
