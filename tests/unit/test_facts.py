"""Facts: what a droplet prints, as values."""

from __future__ import annotations

import pytest

from smallfleet.facts.system import CloudInit


@pytest.mark.parametrize(
    ("printed", "status"),
    [
        (["status: running"], "running"),
        (["", "status: done"], "done"),
        (["status: not started"], "not started"),
        (["status: absent"], "absent"),
        ([], "absent"),
    ],
)
def test_cloud_inits_status(printed: list[str], status: str) -> None:
    assert CloudInit().process(printed) == status
