"""NGINX's configuration as a whole, so that what does not pass `nginx -t` never stands in place."""

from __future__ import annotations

import hashlib
import json
import shlex
from io import StringIO
from typing import TypedDict

from pyinfra import host
from pyinfra.api import FileUploadCommand, OperationError, QuoteString, StringCommand, operation

from smallfleet import programs
from smallfleet.facts.nginx import DIRECTORY, TLS, NginxCertificates, NginxFiles
from smallfleet.model.roles import AppRole
from smallfleet.operations import Commands
from smallfleet.operations.checked import show_diff

CANDIDATE = f"{DIRECTORY}/candidate"
PLACEHOLDER = f"{TLS}/placeholder"

PROGRAM = "/usr/local/sbin/smallfleet-nginx-swap"


class Site(TypedDict):
    """What is asked of a site before and after a change, see programs/nginx_swap."""

    domain: str
    aliases: list[str]
    paths: list[str]
    health: str | None
    directories: dict[str, str]


def site(app: AppRole) -> Site:
    """What an app's vhost has to go on answering."""
    current = f"/srv/{app.name}/current"
    static = app.nginx.static if app.app else {}
    directories = {url: f"{current}/{directory.rstrip('/')}" for url, directory in static.items()}
    if app.files:
        directories[app.files.url] = app.files.directory
    return {
        "domain": app.domain,
        "aliases": list(app.aliases),
        "paths": list(app.nginx.cache.paths) if app.app and app.nginx.cache else [],
        "health": app.app.health if app.app else None,
        "directories": directories,
    }


def fronted_site(app: AppRole) -> Site:
    """The same of an edge's vhost, which has nothing of the app on its own disk."""
    return {**site(app), "directories": {}}


@operation()
def placeholders(domains: list[str]) -> Commands:
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
def configured(files: dict[str, str], sites: list[Site]) -> Commands:
    """Have exactly these files, {path under /etc/nginx: text}: nginx.conf and sites/NAME.conf; reload then.

    They are laid beside the present ones and tried with `nginx -t` first; what is refused is removed and the
    present configuration stays. If one of `sites` answered before and does not with them, they go again.
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
            show_diff(f"{DIRECTORY}/{path}", files.get(path, ""))
    # nginx.conf includes sites/ relative to itself, so the same file can be tried in the candidate's place.
    yield StringCommand(f"rm -rf {CANDIDATE} && mkdir -p {CANDIDATE}/sites")
    for path, text in sorted(files.items()):
        yield FileUploadCommand(
            StringIO(text), f"{CANDIDATE}/{path}", remote_temp_filename=host.get_temp_filename(path)
        )
    yield FileUploadCommand(StringIO(programs.text("nginx_swap")), PROGRAM)
    yield StringCommand("/usr/bin/python3", PROGRAM, QuoteString(json.dumps(sites)))
