"""pyinfra's own dry run, made complete: a State whose operations are followed to their end.

pyinfra stops at an operation's first command, asks each fact of the droplet as it is now, and leaves `_if`
open. Here each operation is asked for all of its commands, what it will have changed is known to the facts
after it, and `_if` is decided by that. Done by subclasses of pyinfra's State, Inventory and Host, and of our
connector.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pyinfra.api import Host, Inventory, State
from pyinfra.api.facts import ShortFactBase
from pyinfra.api.operation import OperationMeta
from pyinfra.api.state import StateOperationHostData
from pyinfra.connectors.util import CommandOutput, OutputLine

from smallfleet.connector import DropletConnector
from smallfleet.errors import FleetError
from smallfleet.operations.called import called
from smallfleet.plan import own_effects, pyinfra_effects  # noqa: F401  they register what operations change
from smallfleet.plan.answers import answer
from smallfleet.plan.effects import Change, find_out
from smallfleet.plan.overlay import Overlay
from smallfleet.plan.pristine import Pristine


class Unanswered(FleetError):
    """A fact that the droplet did not answer."""


class DryConnector(DropletConnector):
    """A droplet that is only looked at. One that does not exist answers as a pristine one."""

    recorder: Callable[[str, list[str]], None] | None = None

    def __init__(self, state: Any, host: Host) -> None:
        super().__init__(state, host)
        self._dry = True
        self._pristine: Pristine | None = None

    def connect(self) -> None:
        super().connect()
        if self._blank:
            self._pristine = Pristine.of(self.host.data.fleet)

    @property
    def missing(self) -> bool:
        """Whether the droplet does not exist yet."""
        return self._blank

    def run_shell_command(self, command: Any, *args: Any, **kwargs: Any) -> tuple[bool, CommandOutput]:
        text = command if isinstance(command, str) else command.get_raw_value()
        if self._pristine is not None:
            lines = self._pristine.answer(text, self.addresses()[self.host.name])
            return True, CommandOutput([OutputLine("stdout", line) for line in lines])
        done, output = super().run_shell_command(command, *args, **kwargs)
        if self.recorder and done:
            self.recorder(text, output.stdout_lines)
        return done, output

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        raise FleetError(f"a plan wanted to write a file on {self.host.name}")  # no operation may do that

    def rsync(self, *args: Any, **kwargs: Any) -> bool:
        raise FleetError(f"a plan wanted to write files on {self.host.name}")


class DryHost(Host):
    """A host that asks each fact once, and answers operations as things will be when they run."""

    def __init__(self, name: str, inventory: Inventory, groups: Any, connector_cls: Any = None) -> None:
        if connector_cls is not None and issubclass(connector_cls, DropletConnector):
            connector_cls = DryConnector
        super().__init__(name, inventory, groups, connector_cls)
        self.overlay = Overlay()
        self.deciding = False  # an `_if` is being decided: that happens when the operation would run
        self.trouble: list[str] = []  # what pyinfra said in red
        self._known: dict[Any, Any] = {}

    def get_fact(self, name_or_cls: Any, *args: Any, **kwargs: Any) -> Any:
        """As the operation being asked will find it; in the deploy itself, which runs first, as it is."""
        if not (self.in_op or self.deciding) or issubclass(name_or_cls, ShortFactBase):
            return self.now(name_or_cls, *args, **kwargs)
        own = {key: value for key, value in kwargs.items() if not key.startswith("_")}
        bound = inspect.getcallargs(name_or_cls.command, None, *args, **own) if args or own else {}
        return answer(
            name_or_cls, self.overlay, bound, lambda: self.now(name_or_cls, *args, **kwargs), self.now
        )

    def now(self, name_or_cls: Any, *args: Any, **kwargs: Any) -> Any:
        """The fact as it is on the droplet; asked once, since nothing changes while a plan is made."""
        arguments = self.current_op_global_arguments
        sudo = arguments.get("_sudo_user") if arguments else None
        key = (name_or_cls, repr(args), repr(sorted(kwargs.items())), sudo)
        if key not in self._known:
            before = len(self.trouble)
            found = super().get_fact(name_or_cls, *args, **kwargs)
            if self in self.state.failed_hosts:
                said = "; ".join(self.trouble[before:]) or "no reason given"
                raise Unanswered(f"{name_or_cls.name} was not answered: {said}")
            self._known[key] = found
        return copy.copy(self._known[key])

    def expected(self, name_or_cls: Any, *args: Any, **kwargs: Any) -> Any:
        """The fact as the operations before will have left it."""
        before, self.deciding = self.deciding, True
        try:
            return self.get_fact(name_or_cls, *args, **kwargs)
        finally:
            self.deciding = before


class DryInventory(Inventory):
    """An inventory that pyinfra has read, of hosts that are only looked at."""

    def __init__(self, read: Inventory) -> None:
        self.__dict__.update(vars(read))
        self.hosts = {host.name: DryHost(host.name, self, host.groups, host.connector_cls) for host in read}
        self.groups = {name: [self.hosts[host.name] for host in hosts] for name, hosts in read.groups.items()}


class Predicted(NamedTuple):
    """An operation that will change something on one droplet."""

    hash: str
    change: Change
    because: list[str]  # hashes of the operations before it whose changes are why it runs


class DryState(State):
    """A state that decides each operation at once, to its end."""

    def __init__(self) -> None:
        super().__init__(check_for_changes=False)  # we look ourselves, and further
        self.predicted: dict[str, list[Predicted]] = {}  # what will change, by droplet, in order
        self.decided: Callable[[Any, str], None] = lambda host, hash: None  # for progress

    def op_name(self, op_hash: str) -> str:
        """The operation's name as pyinfra's command prints it."""
        from pyinfra_cli.prints import pretty_op_name

        return str(pretty_op_name(self.op_meta[op_hash]))

    def fail_hosts(self, hosts_to_fail: Any, activated_count: Any = None) -> None:
        """A droplet that fails holds no other one back."""
        self.failed_hosts.update(hosts_to_fail)
        self.active_hosts -= set(hosts_to_fail)

    def set_op_data_for_host(self, host: Any, op_hash: str, op_data: StateOperationHostData) -> None:
        super().set_op_data_for_host(host, op_hash, op_data)
        wanted = op_data.global_arguments.get("_if") or []
        host.deciding = True
        try:
            runs = all(condition() for condition in ([wanted] if callable(wanted) else wanted))
        finally:
            host.deciding = False
        commands = followed(op_data.command_generator) if runs else []
        op_data.operation_meta.set_complete(True, commands, CommandOutput([]))
        if commands:
            function, arguments = called(op_data.command_generator)
            change = Change(arguments, commands, host.overlay, host.expected)
            find_out(function, change)
            because = [meta._hash for meta in consulted(wanted) if meta.did_change()]
            self.predicted.setdefault(host.name, []).append(Predicted(op_hash, change, because))
        self.decided(host, op_hash)


def followed(generator: Callable[[], Iterator[Any]]) -> list[Any]:
    """All commands of an operation; none is run.

    What it asks between two of them may need the first one to have run; then what came so far is enough.
    """
    commands: list[Any] = []
    try:
        for command in generator():
            commands.append(command)
    except Unanswered:
        raise
    except Exception:
        if not commands:
            raise
    return commands


def consulted(condition: Any) -> list[OperationMeta]:
    """The operations that an `_if` asks: did_change itself, any_changed(…), or a lambda around them."""
    if isinstance(condition, OperationMeta):
        return [condition]
    if isinstance(condition, list | tuple):
        return [meta for part in condition for meta in consulted(part)]
    if inspect.ismethod(condition):
        return consulted(condition.__self__)
    if inspect.isfunction(condition):
        return [meta for cell in condition.__closure__ or () for meta in consulted(cell.cell_contents)]
    return []
