"""Users that programs run as."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from smallfleet.facts.accounts import Account, SystemAccount
from smallfleet.operations import Commands

NO_SHELL = "/usr/sbin/nologin"


@operation()
def system(user: str, home: str) -> Commands:
    """
    Have a system user with a primary group of its own name, who cannot log in.

    + user: its name, and its group's
    + home: absolute path, which is not made
    """
    there = host.get_fact(SystemAccount, user=user)
    if there == Account(group=user, home=home, shell=NO_SHELL):
        host.noop(f"the user {user} is as it should be")
        return
    name = QuoteString(user)
    yield StringCommand("getent", "group", name, ">/dev/null", "||", "groupadd", "--system", name)
    options = ("--gid", name, "-d", QuoteString(home), "--shell", NO_SHELL)
    if there is None:
        yield StringCommand("useradd", "--system", "--no-create-home", *options, name)
    else:
        yield StringCommand("usermod", *options, name)
