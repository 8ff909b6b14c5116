"""NGINX's configuration as a whole, so that what does not pass `nginx -t` never stands in place."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Generator
from io import StringIO

from pyinfra import host
from pyinfra.api import FileUploadCommand, OperationError, StringCommand, operation

from smallfleet.facts.nginx import DIRECTORY, TLS, NginxCertificates, NginxFiles

CANDIDATE = f"{DIRECTORY}/candidate"
PREVIOUS = f"{DIRECTORY}/previous"
PLACEHOLDER = f"{TLS}/placeholder"

# nginx.conf includes sites/ relative to itself, so the same file can be tried in the candidate's directory.
SWAP = f"""
set -eu
if ! nginx -t -q -c {CANDIDATE}/nginx.conf; then
    rm -rf {CANDIDATE}
    echo 'The new configuration is not valid; the one before it stays as it was.' >&2
    exit 1
fi
rm -rf {PREVIOUS} && mkdir {PREVIOUS}
cp -a {DIRECTORY}/nginx.conf {PREVIOUS}/
if [ -d {DIRECTORY}/sites ]; then mv {DIRECTORY}/sites {PREVIOUS}/sites; fi
mv {CANDIDATE}/sites {DIRECTORY}/sites
mv {CANDIDATE}/nginx.conf {DIRECTORY}/nginx.conf
rm -rf {CANDIDATE}
if ! nginx -t -q || ! systemctl reload-or-restart nginx; then
    rm -rf {DIRECTORY}/sites
    if [ -d {PREVIOUS}/sites ]; then mv {PREVIOUS}/sites {DIRECTORY}/sites; fi
    mv {PREVIOUS}/nginx.conf {DIRECTORY}/nginx.conf
    echo 'NGINX did not take the new configuration; the one before it is back.' >&2
    exit 1
fi
"""


@operation()
def placeholders(domains: list[str]) -> Generator[StringCommand, None, None]:
    """Have a certificate for each domain, self-signed until deploys/tls.py has a real one."""
    there = host.get_fact(NginxCertificates)
    missing = [domain for domain in domains if domain not in there]
    if "placeholder" not in there:
        yield StringCommand(
            f"umask 077 && mkdir -p {PLACEHOLDER}"
            " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
            f" -nodes -days 3650 -subj /CN=placeholder.invalid"
            f" -keyout {PLACEHOLDER}/privkey.pem -out {PLACEHOLDER}/fullchain.pem 2>/dev/null"
        )
    for domain in missing:
        directory = shlex.quote(f"{TLS}/{domain}")
        links = " && ".join(
            f"ln -sfn {PLACEHOLDER}/{file} {directory}/{file}" for file in ("fullchain.pem", "privkey.pem")
        )
        yield StringCommand(f"mkdir -p {directory} && {links}")
    if not missing:
        host.noop("every domain has a certificate")


@operation()
def configured(files: dict[str, str]) -> Generator[StringCommand | FileUploadCommand, None, None]:
    """Have exactly these files, {path under /etc/nginx: text}: nginx.conf and sites/NAME.conf; reload then.

    They are laid beside the present ones and tried with `nginx -t` first; what is refused is removed and the
    present configuration stays.
    """
    strange = [path for path in files if path != "nginx.conf" and path.rpartition("/")[0] != "sites"]
    if strange:
        raise OperationError(f"not a file of ours: {', '.join(strange)}")
    wanted = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    there = host.get_fact(NginxFiles)
    if wanted == there:
        host.noop("NGINX has this configuration")
        return
    for path in sorted(wanted.keys() | there.keys()):
        if wanted.get(path) != there.get(path):
            word = "changes" if path in there and path in wanted else "is new" if path in wanted else "goes"
            host.log(f"{DIRECTORY}/{path} {word}")
    yield StringCommand(f"rm -rf {CANDIDATE} && mkdir -p {CANDIDATE}/sites")
    for path, text in sorted(files.items()):
        yield FileUploadCommand(
            StringIO(text), f"{CANDIDATE}/{path}", remote_temp_filename=host.get_temp_filename(path)
        )
    yield StringCommand(f"sh -c {shlex.quote(SWAP)}")
