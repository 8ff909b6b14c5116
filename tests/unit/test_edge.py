"""Apps on several droplets behind an edge: who stands in front of whom, names, NGINX, the patch day."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smallfleet import Droplet, Fleet
from smallfleet.cloud.plan import plan, wanted_records
from smallfleet.cloud.survey import Survey
from smallfleet.context import Context
from smallfleet.facts.patch import nothing
from smallfleet.model.roles import EdgeRole
from smallfleet.model.yamlfile import read_yaml
from smallfleet.patchday import Day, answered_by, edge_for, effect_of, order
from smallfleet.rendering import render
from tests.unit.test_model import edit, problems, rooms

__all__ = ["rooms"]  # a fixture: the project's roles in the present directory

TEMPLATES = Path(__file__).resolve().parents[2] / "templates/nginx"
ADDRESSES = {
    name: {"public": f"192.0.2.{number}", "private": f"10.116.0.{number}"}
    for number, name in enumerate(("one", "two", "front", "mongo"), 1)
}


def fleet_of(**roles: str) -> Fleet:
    droplets = [Droplet(name, size="s-1vcpu-1gb", roles=said.split()) for name, said in roles.items()]
    said = {"name": "prod", "vpc": "10.116.0.0/24", "domain": "example.com", "ssh_keys": ["id.pub"]}
    return Fleet(**said, droplets=droplets)


def behind() -> Fleet:
    return fleet_of(one="podcast", two="podcast", front="edge", mongo="mongodb")


def context(fleet: Fleet, name: str, **names: list[str]) -> Context:
    connector = SimpleNamespace(names=lambda: {"podcast.example.com": names.get("led", [])})
    data = {"fleet": fleet, "droplet": fleet.droplet(name), "addresses": ADDRESSES}
    return Context(SimpleNamespace(name=name, data=data, connector=connector), fleet, fleet.droplet(name))


def test_an_edge_stands_in_front_of_what_has_several_droplets() -> None:
    fleet = fleet_of(one="podcast courses", two="podcast", front="edge", mongo="mongodb")
    apps = {app.name: app for app in fleet.apps}
    front = fleet.front_of(apps["podcast"])
    assert front and front.name == "front" and fleet.front_of(apps["courses"]) is None
    assert [app.name for app in fleet.fronted_by("front")] == ["podcast"] and fleet.fronted_by("one") == []
    assert fleet.roles_of("front") == ["base", "nginx", "edge"]
    edit("edge", {"sites": ["courses"]})
    fleet = fleet_of(one="podcast courses", two="podcast", front="edge", mongo="mongodb")
    assert [app.name for app in fleet.fronted_by("front")] == ["courses"]


def test_the_role_file_shows_all_defaults_as_they_are() -> None:
    file = read_yaml(TEMPLATES.parents[1] / "roles/edge.yml", [])
    assert file and set(file.data) | {"name", "needs"} == set(EdgeRole.model_fields)
    shown = EdgeRole.model_validate({**file.data, "name": "edge"})
    assert shown == EdgeRole.model_validate({"kind": "edge", "name": "edge", "on": ["nginx"]})


def test_without_an_edge_visitors_come_to_all_droplets_by_dns() -> None:
    fleet = fleet_of(one="podcast", two="podcast", mongo="mongodb")
    assert wanted_records(fleet)["podcast.example.com"] == ["one", "two"]
    assert wanted_records(behind())["podcast.example.com"] == ["front"]


@pytest.mark.parametrize(
    ("roles", "change", "said"),
    [
        ({"one": "podcast", "front": "edge"}, {}, "front is an edge with nothing behind it"),
        (
            {"one": "podcast", "two": "podcast edge"},
            {},
            "two is the edge in front of podcast and has podcast",
        ),
        ({"one": "podcast", "two": "podcast", "a": "edge", "b": "edge"}, {}, "edge is on a and b"),
        ({"one": "podcast", "a": "edge"}, {"sites": ["podcats"]}, "roles/edge.yml:5: podcats is no app"),
        ({"one": "podcast", "a": "edge"}, {"on": []}, "an edge needs nginx"),
        ({"one": "podcast", "two": "podcast", "a": "edge"}, {"port": 443}, "443 is taken on the same"),
    ],
)
def test_a_mistake_is_said_where_it_is(roles: dict[str, str], change: dict[str, Any], said: str) -> None:
    if change:
        edit("edge", change)
    if "port" in change:
        edit("podcast", {"uwsgi": {"port": change["port"]}})
    assert said in problems(fleet_of(**roles, mongo="mongodb"))


def found(fleet: Fleet, now: dict[str, str], **tags: list[str]) -> Survey:
    """The account with all droplets, and records {name: droplet}."""
    droplets = {
        name: {
            "name": name,
            "tags": ["smallfleet-prod", *(f"smallfleet-prod:{role}" for role in tags.get(name, []))],
            "networks": {
                "v4": [{"type": kind, "ip_address": where} for kind, where in ADDRESSES[name].items()]
            },
        }
        for name in [droplet.name for droplet in fleet.droplets]
    }
    records = [
        {"type": "A", "name": name, "data": ADDRESSES[droplet]["public"]} for name, droplet in now.items()
    ]
    return Survey(droplets=droplets, records={"example.com": records}, prices={"s-1vcpu-1gb": 6.0})  # type: ignore[arg-type]


def test_a_name_moves_to_the_edge_only_when_the_site_answers_there() -> None:
    fleet = behind()
    todo = plan(fleet, found(fleet, {"podcast": "one", "www.podcast": "one"}))
    assert todo.records == {}
    assert todo.moves == {"podcast.example.com": ["front"], "www.podcast.example.com": ["front"]}
    # A name that leads nowhere, or to a stranger, is set at once; so is all without an edge.
    todo = plan(fleet, found(fleet, {"podcast": "mongo"}))
    assert set(todo.records) == {"podcast.example.com", "www.podcast.example.com"} and not todo.moves
    plain = fleet_of(one="courses", two="podcast", mongo="mongodb")
    assert "podcast.example.com" in plan(plain, found(plain, {"podcast": "one"})).records
    done = {"podcast": "front", "www.podcast": "front"}
    todo = plan(fleet, found(fleet, done))
    assert not todo.records and not todo.moves


def test_a_name_leaves_the_edge_only_when_the_site_answers_elsewhere() -> None:
    fleet = fleet_of(one="podcast", front="courses", mongo="mongodb")
    there = found(fleet, {"podcast": "front"}, front=["edge"])
    assert plan(fleet, there).moves == {"podcast.example.com": ["one"]}


def test_a_droplet_is_hidden_behind_its_edge_once_no_name_leads_to_it() -> None:
    fleet = behind()
    assert context(fleet, "one").hidden and context(fleet, "two", led=["192.0.2.1"]).hidden
    assert not context(fleet, "one", led=["192.0.2.1"]).hidden
    assert not context(fleet, "front").hidden and not context(fleet, "mongo").hidden
    mixed = fleet_of(one="podcast courses", two="podcast", front="edge", mongo="mongodb")
    assert not context(mixed, "one").hidden, "courses has no edge"
    assert context(fleet, "front").backends_of(fleet.apps[0]) == [
        ("one", "10.116.0.1:8080"),
        ("two", "10.116.0.2:8080"),
    ]


def test_the_edges_vhost_can_leave_out_each_droplet() -> None:
    fleet = behind()
    podcast = fleet.fronted_by("front")[0]
    shared = {"ipv6": False, "http2_on": False, "http2_listen": " http2", "timeout": 40, "away": "/run/away"}
    droplets = [("one", "10.116.0.1:8080"), ("two", "10.116.0.2:8080")]
    said = render(TEMPLATES / "edge.conf.j2", site=podcast, droplets=droplets, **shared)
    but_one = said.partition("upstream podcast_but_one {")[2].partition("}")[0]
    assert "10.116.0.2:8080" in but_one and "10.116.0.1" not in but_one
    assert "if (-f /run/away/one)" in said and "set $droplets podcast_but_one;" in said
    assert "non_idempotent" not in said and "proxy_set_header X-Forwarded-For $remote_addr;" in said
    alone = render(TEMPLATES / "edge.conf.j2", site=podcast, droplets=droplets[:1], **shared)
    assert "_but_" not in alone and "set $droplets podcast_all;" in alone


def test_a_patch_day_moves_the_traffic_of_who_has_others() -> None:
    fleet = behind()
    assert [edge_for(fleet, name) for name in ("one", "two", "front", "mongo")] == [
        "front",
        "front",
        None,
        None,
    ]
    assert [app.name for app in answered_by(fleet, "front")] == ["podcast"]
    patch = {**nothing(), "then_reboot": ["kernel"], "boot": 3.0}
    assert effect_of(fleet, "one", patch) == "nothing"  # type: ignore[arg-type]
    assert effect_of(fleet, "front", patch) == "podcast away: about 7 s"  # type: ignore[arg-type]
    day = Day(fleet, order(fleet, ["one"]))
    assert day.missing(["one"]) == ["front"] and day.missing(["one", "front"]) == []
    alone = fleet_of(one="podcast", mongo="mongodb")
    assert effect_of(alone, "one", patch) == "podcast away: about 7 s"  # type: ignore[arg-type]
