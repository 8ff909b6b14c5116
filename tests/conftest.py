"""The order of the tests, and which of them run beside each other: `pytest -n 4` runs four at a time.

A test marked `alone` measures what visitors see: while it runs, no other does. What it needs is made before,
beside other tests. (The duration that pytest prints for a test has its waiting for such a turn in it.)
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

HERE = Path(__file__).parent

# What takes longest comes first, so that all workers end at about the same time; those that are `alone` come
# when little is left that would wait for them.
ORDER = [
    "lab/test_fleet.py",
    "lab/test_patch_day.py",
    "lab/test_replica_set.py",
    "lab/test_scaling.py",
    "lab/test_plan.py",
    "lab/test_cut.py",
    "lab/test_single.py",
    "lab/test_runs.py",
    "lab/test_safety.py",
    "lab/test_lockout.py",
    "lab/test_batches.py",
    "lab/test_maintenance.py",
    "lab/test_machines.py",
    "lab/test_connector.py",
    "lab/test_lifecycle.py",
    "unit/test_cloud_create.py",
    "lab/test_redeploy.py",
    "lab/test_releases.py",
]
# Both have the eight droplets that are made once a session, so one worker has both.
FLEET = ("lab/test_fleet.py", "lab/test_patch_day.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(ORDER)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0].removeprefix("tests/"), len(rank)))


class Files(LoadFileScheduling):
    """A file's tests all go to one worker, and files in our order."""

    def _split_scope(self, nodeid: str) -> str:
        name = super()._split_scope(nodeid).removeprefix("tests/")
        return FLEET[0] if name in FLEET else name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    config.option.loadscopereorder = False
    return Files(config, log)


@contextlib.contextmanager
def turn(alone: bool) -> Iterator[None]:
    """Have the machine with others, or `alone`; waits until that can be."""
    # Locks on files that are there anyway: nothing is left behind, and who is killed has let go.
    with Path(__file__).open() as gate, (HERE / "__init__.py").open() as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)  # nobody passes one who waits to be alone
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    with turn(alone=False):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    with turn(alone=False):
        return (yield)
