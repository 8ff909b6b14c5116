"""uv on a droplet, at a pinned version with checked hashes, and venvs that it makes."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.operations import files

from smallfleet.facts.files import FileState
from smallfleet.operations import Commands, several
from smallfleet.operations.secrets import digest

TEMPLATES = Path("templates/uv")
HOME = "/opt/uv"
PROGRAM = "/usr/local/bin/uv"
PIP = "$(echo /usr/share/python-wheels/pip-*.whl)/pip"  # in the wheel that `python3 -m venv` itself takes


@operation()
def venv(path: str, requirements: Path, uv: str | None = PROGRAM) -> Commands:
    """
    Make a venv that holds exactly what a locked requirements file says, each package checked by its hash.

    + path: absolute path of the venv
    + requirements: the file, on this machine
    + uv: uv on the droplet; None makes it with Python's own venv, and Debian's pip, which it does not hold
    """
    text = requirements.read_text()
    made = f"{path}/requirements.txt"  # written last: it says that the venv is whole
    there = host.get_fact(FileState, path=made)
    if there and there["sha256"] == digest(text):
        host.noop(f"{path} is as it should be")
        return
    wanted = f"{path}.requirements.txt"
    yield StringCommand("mkdir", "-p", QuoteString(str(Path(path).parent)))
    yield FileUploadCommand(str(requirements.resolve()), wanted)
    if uv:
        yield StringCommand(uv, "venv", "--quiet", "--clear", QuoteString(path))
        yield StringCommand(
            *(
                uv,
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "--python",
                QuoteString(f"{path}/bin/python"),
            ),
            *("-r", QuoteString(wanted)),
        )
    else:
        # pip as Debian's wheel has it: to put it into the venv takes longer than what it is to do there.
        yield StringCommand("python3", "-m", "venv", "--clear", "--without-pip", QuoteString(path))
        yield StringCommand(
            *(QuoteString(f"{path}/bin/python"), PIP),
            *("install", "--quiet", "--disable-pip-version-check", "--require-hashes"),
            *("--only-binary", ":all:", "-r", QuoteString(wanted)),
        )
    yield StringCommand("mv", "-f", QuoteString(wanted), QuoteString(made))


@operation()
def installed() -> Commands:
    """/usr/local/bin/uv, at the version in templates/uv/requirements.txt. Needs the package python3-venv."""
    yield from venv._inner(path=HOME, requirements=TEMPLATES / "requirements.txt", uv=None)
    yield from files.link._inner(path=PROGRAM, target=f"{HOME}/bin/uv")
    yield from several.files._inner(files=configuration())


def configuration() -> dict[str, str]:
    """{path: text}: uv trusts what the droplet trusts."""
    return {"/etc/uv/uv.toml": (TEMPLATES / "uv.toml").read_text()}
