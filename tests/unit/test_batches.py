"""Whose turn it is among several droplets of one role, and how releases are listed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from smallfleet import Droplet, Fleet
from smallfleet.batches import Batches
from smallfleet.cli.releases import droplets_of, listed, table
from smallfleet.errors import FleetError

ROLES = Path(__file__).resolve().parents[2] / "roles"


class Host:
    """A host as far as turns go."""

    def __init__(self, name: str, failed: Iterable[Host] = ()) -> None:
        self.name, self.state = name, self
        self.failed_hosts = set(failed)


def four() -> Fleet:
    droplets = [Droplet(name, size="s-1vcpu-1gb", roles=["podcast"]) for name in ("b", "c", "a")]
    droplets.append(Droplet("data", size="s-1vcpu-1gb", roles=["mongodb", "api"]))
    return Fleet(
        name="test",
        vpc="10.1.0.0/24",
        domain="example.com",
        ssh_keys=["id.pub"],
        droplets=droplets,
        roles_directory=ROLES,
    )


def test_turns_are_in_the_inventorys_order() -> None:
    batches = Batches(four())
    assert batches.turns == 3
    assert [batches.turn_of("podcast", name) for name in ("b", "c", "a")] == [0, 1, 2]
    assert batches.turn_of("api", "data") == 0


@pytest.mark.parametrize(
    ("droplet", "failed", "before"),
    [("a", ["c"], "c"), ("a", [], None), ("c", ["a"], None), ("b", ["c", "a"], None), ("a", ["data"], None)],
)
def test_only_those_before_it_hold_a_droplet_back(
    droplet: str, failed: list[str], before: str | None
) -> None:
    host = Host(droplet, [Host(name) for name in failed])
    assert Batches(four()).failed_before(host, "podcast") == before  # type: ignore[arg-type]


def test_the_summary_says_what_each_droplet_is_on() -> None:
    batches = Batches(four())
    serving = {"release": "20260101-000000-aaaaaaaa", "commit": "a" * 40, "state": "active"}
    batches.rows = {
        ("podcast", "a"): {"came": "left as it was, since b failed", "serving": serving},
        ("podcast", "b"): {"came": "refused: it serves on", "serving": {}},
    }
    with (console := Console(width=160)).capture() as captured:
        console.print(batches.table())
    rows = [line for line in captured.get().splitlines() if "podcast" in line]
    assert "nothing" in rows[0] and "refused" in rows[0]
    assert "aaaaaaaa" in rows[1] and "since b failed" in rows[1]


def test_listing_shows_what_serves_and_why_others_do_not() -> None:
    rows = [
        {"release": "2", "health": "refused", "reason": "Installing failed:\n  more", "author": "ada@laptop"},
        {"release": "1", "health": "healthy", "serves": True, "ref": "main", "commit": "a" * 40, "time": "T"},
    ]
    printed = {"smallfleet.facts.release.Releases (app=podcast)": {"b": rows}}
    found = listed(printed, ["b", "c"])
    assert found == {"b": rows, "c": []}
    with (console := Console(width=160)).capture() as captured:
        console.print(table(found))
    text = captured.get()
    assert "refused: Installing failed" in text and "more" not in text and "ada@laptop" in text
    assert next(line for line in text.splitlines() if "main aaaaaaaa" in line).count("*") == 1


def test_an_app_that_is_none_is_said() -> None:
    assert droplets_of(four(), "podcast") == ["b", "c", "a"]
    with pytest.raises(FleetError, match=r"mongodb is no app of the fleet test\. It has: api, podcast"):
        droplets_of(four(), "mongodb")
