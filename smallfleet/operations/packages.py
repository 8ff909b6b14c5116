"""Packages, where one question tells that nothing is missing."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import operation
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

from smallfleet.operations import Commands

DAY = 24 * 3600  # seconds for which the packages' lists are new enough to install from


@operation()
def installed(packages: Sequence[str], no_recommends: bool = False) -> Commands:
    """
    Have packages, as pyinfra's `apt.packages` does; how old the lists are is asked where one is missing.

    + packages: their names
    + no_recommends: without what they recommend
    """
    there = host.get_fact(DebPackages)
    if all(package in there for package in packages):
        host.noop("the packages are installed")
        return
    yield from apt.packages._inner(
        packages=list(packages), no_recommends=no_recommends, update=True, cache_time=DAY
    )
