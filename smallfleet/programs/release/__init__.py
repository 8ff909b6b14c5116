"""A release of an app is a transaction on its droplet (installed as /usr/local/sbin/smallfleet-release).

    smallfleet-release deploy NAME              build, try, switch, watch; if one fails the old one stays
    smallfleet-release rollback NAME [RELEASE]  back to an earlier release: no network, no build
    smallfleet-release status NAME              one JSON object: what runs, and whether a deploy would do work
    smallfleet-release list NAME                JSON: the releases there are, and records of those refused

Status 1, with the reason on stderr, when what was asked for was not done.

What to release is in /etc/smallfleet/apps/NAME.json (not secret; `app.App` has its keys).

The steps of a deploy, in order: fetch, export, build, setup, try (the candidate unit, which has a private
socket only), switch (the new release joins the shared socket, which systemd holds; then the old one ends
gracefully), watch (if it turns bad the old one is switched back to), prune.

Each release has what it runs with: its files, its venv, uWSGI's configuration (.release.ini) and its unit
(NAME@ID.service), so that a bad new one of any cannot reach the release that serves, not even by a reboot.

Python's standard library only, since nothing else is on a new droplet. Python 3.10+. These modules go onto a
droplet joined into one file (`programs.text`), so a name at the top of one is not used in another.
"""
