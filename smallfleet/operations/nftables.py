"""The droplet's own firewall."""

from __future__ import annotations

from io import StringIO

from pyinfra import host
from pyinfra.api import FileUploadCommand, StringCommand, operation

from smallfleet.facts.system import NftTables
from smallfleet.operations import Commands
from smallfleet.operations.checked import is_there, show_diff
from smallfleet.operations.guarded import guarded

DEST = "/etc/nftables.conf"
CANDIDATE = "/etc/.nftables.conf.candidate"


@operation()
def ruleset(content: str, table: str, undo_seconds: int) -> Commands:
    """
    Make /etc/nftables.conf hold `content`, and the kernel too. The candidate is checked by nft
    before it replaces what runs; a candidate that nft refuses changes nothing.

    + content: the rules, as `nft -f` reads them
    + table: a table that is there when they are loaded ("inet smallfleet")
    + undo_seconds: the droplet goes back by itself after so many, unless a fresh connection confirms it
    """
    what = "The firewall's rules"
    if is_there(DEST, content, "0644"):
        if table in host.get_fact(NftTables):
            host.noop("the firewall is as it should be")
        else:
            yield from guarded([StringCommand("nft", "-f", DEST)], what, undo_seconds)
        return
    show_diff(DEST, content)
    yield FileUploadCommand(StringIO(content), CANDIDATE)
    yield StringCommand(
        *("nft", "-c", "-f", CANDIDATE, "||", "{", "status=$?;", "rm", "-f", CANDIDATE, ";"),
        *("exit", "$status;", "}"),
    )
    # On the disk first: with rules that cut this connection off, nothing after them is sure to be run.
    load = StringCommand(
        *("install", "-m", "0644", "-o", "root", "-g", "root", CANDIDATE, f"{DEST}.new", "&&"),
        *("mv", "-f", f"{DEST}.new", DEST, "&&", "rm", "-f", CANDIDATE, "&&", "nft", "-f", DEST),
    )
    yield from guarded([load], what, undo_seconds)
