"""uv on a droplet, at a pinned version with checked hashes, and venvs that it makes."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, deploy, operation
from pyinfra.operations import apt, files

from smallfleet.facts.files import FileState
from smallfleet.operations import Commands, several
from smallfleet.operations.secrets import digest

TEMPLATES = Path("templates/uv")
HOME = "/opt/uv"


@operation()
def venv(path: str, requirements: Path, uv: str | None = "/usr/local/bin/uv") -> Commands:
    """
    Make a venv that holds exactly what a locked requirements file says, each package checked by its hash.

    + path: absolute path of the venv
    + requirements: the file, on this machine
    + uv: uv on the droplet; None makes it with Python's own venv and pip
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
        yield StringCommand("python3", "-m", "venv", "--clear", QuoteString(path))
        yield StringCommand(
            *(
                QuoteString(f"{path}/bin/pip"),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
            ),
            *("--only-binary", ":all:", "-r", QuoteString(wanted)),
        )
    yield StringCommand("mv", "-f", QuoteString(wanted), QuoteString(made))


@deploy("uv")
def installed() -> None:
    """/usr/local/bin/uv, at the version in templates/uv/requirements.txt."""
    apt.packages(name="Install Python's venv", packages=["python3-venv"], no_recommends=True)
    venv(
        name="Install uv at its pinned version",
        path=HOME,
        requirements=TEMPLATES / "requirements.txt",
        uv=None,
    )
    files.link(name="Put uv on the path", path="/usr/local/bin/uv", target=f"{HOME}/bin/uv")
    several.files(
        name="Let uv trust what the droplet trusts",
        files={"/etc/uv/uv.toml": (TEMPLATES / "uv.toml").read_text()},
    )
