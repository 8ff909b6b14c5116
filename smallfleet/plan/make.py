"""Make a plan: read the inventory, look at the cloud and the droplets, follow the deploy on each of them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import gevent
import pyinfra
from pyinfra.api import BaseStateCallback, Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from smallfleet.errors import FleetError
from smallfleet.model.fleet import Fleet
from smallfleet.plan.dry import DryHost, DryInventory, DryState

Progress = Callable[[str, str], None]  # (droplet, what it is at)


def quiet(droplet: str, at: str) -> None:
    """No progress."""


@dataclass
class Prepared:
    """All that a plan is made of."""

    fleet: Fleet
    state: DryState
    hosts: list[DryHost]  # those in the limit, in the inventory's order
    errors: dict[str, str] = field(default_factory=dict)  # droplet: why it could not be planned to the end

    @property
    def run(self) -> Any:
        """The connector's run: the account as it was found, and what is to be made in it."""
        from smallfleet.connector.run import run_of

        return run_of(self.state, self.fleet, True, False)


class _Trouble(logging.Handler):
    """Keeps what pyinfra says in red, with the droplet that it says it of; the rest is not for a plan."""

    def emit(self, record: logging.LogRecord) -> None:
        host = ctx_host.get()
        if record.levelno >= logging.ERROR and isinstance(host, DryHost):
            host.trouble.append(record.getMessage().removeprefix(host.print_prefix).strip())


class _Unreached(BaseStateCallback):
    def __init__(self, errors: dict[str, str]) -> None:
        self._errors = errors

    def host_connect_error(self, state: Any, host: Any, error: Any) -> None:  # type: ignore[override]
        self._errors[host.name] = str(error)


def prepare(
    inventory: Path,
    deploy: Path,
    limit: Sequence[str] = (),
    progress: Progress = quiet,
    recorder: Callable[[str, list[str]], None] | None = None,
) -> Prepared:
    """Follow `deploy` on the droplets of `inventory`; nothing is changed. To be called once in a process.

    `limit`: names, patterns or groups, as pyinfra's --limit. `FleetError` for what is wrong before any
    droplet is asked; what is wrong with a droplet stands in the result's `errors`.
    """
    if not deploy.is_file():
        raise FleetError(f"there is no deploy {deploy}. Give one such as deploys/site.py")
    if not inventory.is_file():
        raise FleetError(f"there is no inventory {inventory}. Give one such as inventory/prod.py")
    try:
        state, hosts = _state(inventory, deploy, limit)
    except click.ClickException as error:  # pyinfra's command would print it
        raise FleetError(f"{inventory}: {_said(error)}") from None
    prepared = Prepared(_fleet_of(state, hosts, inventory), state, hosts)
    state.add_callback_handler(_Unreached(prepared.errors))
    state.decided = lambda host, hash: progress(host.name, " ".join(state.op_meta[hash].names))
    state.set_stage(StateStage.Connect)
    _on_each(hosts, lambda host: _connect(host, state, progress, recorder), prepared)
    state.set_stage(StateStage.Prepare)
    state.current_deploy_filename = str(deploy)
    _on_each([host for host in hosts if host.connected], lambda host: _follow(host, state, deploy), prepared)
    _on_each([host for host in hosts if host.connected], lambda host: host.disconnect(), prepared)
    return prepared


def _state(inventory: Path, deploy: Path, limit: Sequence[str]) -> tuple[DryState, list[DryHost]]:
    """A state as pyinfra's command makes it, of the config.py and the inventory in the present directory."""
    from pyinfra_cli.inventory import make_inventory
    from pyinfra_cli.util import exec_file

    pyinfra.is_cli = True  # the deploys include each other, which pyinfra has for its command alone
    pyinfra.logger.addHandler(_Trouble())
    pyinfra.logger.propagate = False
    os.environ["PYINFRA_PROGRESS"] = "off"
    if (cwd := str(Path.cwd())) not in sys.path:
        sys.path.append(cwd)
    state, config = DryState(), Config()
    state.cwd = cwd
    ctx_state.set(state)
    ctx_config.set(config)
    if Path("config.py").is_file():
        exec_file("config.py")
    config.lock_current_state()
    read = DryInventory(make_inventory(str(inventory), cwd=cwd))
    ctx_inventory.set(read)
    hosts = [host for host in read if not limit or any(_matches(host, word) for word in limit)]
    if not hosts:
        raise FleetError(f"no droplet of {inventory} is called {', '.join(limit)}, nor has such a role")
    # The connectors look at pyinfra's options: nothing is to be changed.
    with click.Context(click.Command("plan")) as context:
        context.params = {"dry": True, "inventory": str(inventory), "operations": (str(deploy), "plan")}
        state.init(read, config, initial_limit=hosts)
    return state, hosts  # type: ignore[return-value]


def _fleet_of(state: DryState, hosts: Sequence[DryHost], inventory: Path) -> Fleet:
    """The fleet that the hosts are of: it comes with them, so that the inventory is read once."""
    fleet = state.inventory.get_host_data(hosts[0].name).get("fleet")
    if not isinstance(fleet, Fleet):
        raise FleetError(f"{inventory} has no fleet: it should say fleet = Fleet(…)")
    return fleet


def _matches(host: Any, word: str) -> bool:
    return word in host.groups or fnmatch(host.name, word)


def _on_each(hosts: Sequence[DryHost], work: Callable[[DryHost], None], prepared: Prepared) -> None:
    """Work on all hosts at once; what goes wrong with one is its error, and holds no other one back."""

    def one(host: DryHost) -> None:
        try:
            with ctx_config.use(prepared.state.config.copy()), ctx_host.use(host):
                work(host)
        except Exception as error:
            ctx_host.set(None)  # pyinfra's `use` leaves the host set where an error goes through it
            prepared.errors.setdefault(host.name, _said(error))

    gevent.joinall([prepared.state.pool.spawn(one, host) for host in hosts])


def _said(error: Exception) -> str:
    if isinstance(error, PyinfraError):
        return str(error)
    inner = getattr(error, "exception", None)  # pyinfra's wrapper of an error in a deploy
    if inner is not None:
        return f"{getattr(error, 'filename', 'a deploy')}: {type(inner).__name__}: {inner}"
    return f"{type(error).__name__}: {error}"


def _connect(host: DryHost, state: DryState, progress: Progress, recorder: Any) -> None:
    progress(host.name, "connecting")
    host.connect()
    if host.connected:
        state.activate_host(host)
        if recorder:
            host.connector.recorder = recorder  # type: ignore[attr-defined]
    else:
        state.fail_hosts({host})


def _follow(host: DryHost, state: DryState, deploy: Path) -> None:
    from pyinfra_cli.util import exec_file

    exec_file(str(deploy))
