"""The same roles on one droplet."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Workplace, workplace

INVENTORY = "inventory/single.py"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    for place in workplace(tmp_path_factory.mktemp("single"), f"single{os.getpid()}"):
        place.deploy(INVENTORY, "deploys/site.py")
        yield place


def test_one_droplet_serves_all_seven_sites(single: Workplace) -> None:
    answers = single.sites(INVENTORY)
    assert {answer["status"] for answer in answers} == {200}, answers
    assert len(answers) == 7
    assert len({answer["address"] for answer in answers}) == 1


def test_a_second_run_changes_nothing(single: Workplace) -> None:
    assert single.deploy(INVENTORY, "deploys/site.py") == {"single": []}
