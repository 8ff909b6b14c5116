"""How long a host may take to let the connector in."""

from __future__ import annotations

import pytest
from pyinfra.api import Config, Inventory, State

from smallfleet.connector.fast import FastSSHConnector


@pytest.mark.parametrize(("hosts", "seconds"), [(1, 10), (16, 10), (64, 40)])
def test_the_more_hosts_log_in_at_once_the_longer_each_may_take(hosts: int, seconds: int) -> None:
    names = [f"@fastssh/host{number}" for number in range(hosts)]
    state = State(Inventory((names, {})), Config(CONNECT_TIMEOUT=10))
    for host in state.inventory:
        assert isinstance(host.connector, FastSSHConnector)
        assert host.connector.make_paramiko_kwargs()["timeout"] == seconds
