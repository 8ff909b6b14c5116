"""DigitalOcean's load balancer: said in the inventory, made in the lab's API, and its forwarding itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import digitalocean as do
import pytest

from smallfleet import Droplet, Fleet, LoadBalancer, patchday
from smallfleet.cloud.balancers import differs, wanted_balancer
from smallfleet.cloud.create import destroy_fleet
from smallfleet.cloud.plan import plan
from smallfleet.cloud.survey import survey
from smallfleet.context import Context
from smallfleet.facts.patch import nothing
from smallfleet.lab.balancer import Balancer
from smallfleet.model.balancing import ALIVE
from smallfleet.rendering import render
from tests.unit.test_cloud_create import client_of, complete, fleet, lab
from tests.unit.test_lab_api import TOKEN, Lab
from tests.unit.test_model import problems

__all__ = ["fleet", "lab"]  # fixtures

TEMPLATES = Path(__file__).resolve().parents[2] / "templates/nginx"


@pytest.fixture
def balanced(fleet: Fleet) -> Fleet:
    """The podcast on two droplets behind a load balancer."""
    two = [*fleet.droplets, Droplet("podcast2", size="s-1vcpu-1gb", roles=["podcast"])]
    return fleet.model_copy(
        update={"droplets": two, "load_balancers": [LoadBalancer("web", roles=["podcast"])]}
    )


def test_a_load_balancer_is_made_once_and_the_names_lead_to_it(balanced: Fleet, lab: Lab) -> None:
    todo, said = complete(balanced)
    assert todo.total == 6 + 12 + 6 + 12
    client = client_of(balanced)
    found = survey(client, balanced)
    assert plan(balanced, found).empty and not plan(balanced, found).moves
    one = found.balancers["web"]
    assert one["status"] == "active" and len(one["droplet_ids"]) == 2 and one["enable_proxy_protocol"]
    records = client.get("domains/example.com/records")["domain_records"]
    assert {r["data"] for r in records if r["type"] == "A"} == {one["ip"]}
    assert any("load balancer web" in line for line in said)
    assert [(spec.ports, len(spec.targets)) for spec in lab.balancers.specs] == [
        ({"80": 8081, "443": 8443}, 2)
    ]
    # python-digitalocean reads it as well.
    read = do.Manager(token=TOKEN).get_all_load_balancers()
    assert [(b.name, b.ip) for b in read] == [("smallfleet-small-web", one["ip"])]


def test_a_load_balancer_that_comes_later_takes_the_name_only_when_the_site_answers(balanced: Fleet) -> None:
    plain = balanced.model_copy(update={"load_balancers": [], "droplets": balanced.droplets[:2]})
    complete(plain)
    names = ["podcast.example.com", "www.podcast.example.com"]
    todo, _ = complete(balanced)
    assert [one.name for one in todo.balancers] == ["web"] and list(todo.moves) == names and not todo.records
    # And the way back: it is no more in the inventory, and is left alone, but the names leave it.
    todo, _ = complete(balanced)
    assert list(todo.moves) == names and todo.empty
    assert "load balancer web" in plan(plain, survey(client_of(plain), plain)).strangers


def test_what_somebody_changed_is_corrected(balanced: Fleet) -> None:
    complete(balanced)
    client = client_of(balanced)
    one = survey(client, balanced).balancers["web"]
    changed = {**wanted_balancer(balanced, balanced.load_balancers[0]), "size_unit": 2}
    client.put(f"load_balancers/{one['id']}", changed)
    todo, _ = complete(balanced)
    assert [b.name for b in todo.corrected] == ["web"] and not todo.balancers
    assert plan(balanced, survey(client, balanced)).empty


def test_a_fleet_is_destroyed_with_its_load_balancer(balanced: Fleet, lab: Lab) -> None:
    complete(balanced)
    client = client_of(balanced)
    destroy_fleet(client, balanced, lambda text: None)
    assert client.get("load_balancers")["load_balancers"] == [] and lab.balancers.specs == []
    assert not client.get("droplets")["droplets"]


def test_rules_in_another_order_are_the_same() -> None:
    wanted = {"forwarding_rules": [{"entry_port": 80}, {"entry_port": 443}], "tag": "a"}
    now = {
        "forwarding_rules": [{"entry_port": 443, "x": ""}, {"entry_port": 80}],
        "tag": "a",
        "ip": "1.2.3.4",
    }
    assert not differs(now, wanted)
    assert differs({**now, "forwarding_rules": [{"entry_port": 80}]}, wanted) and differs(
        {**now, "tag": ""}, wanted
    )


def test_the_api_refuses_what_digitalocean_refuses(lab: Lab) -> None:
    rule = {"entry_protocol": "tcp", "entry_port": 443, "target_protocol": "tcp", "target_port": 443}
    body: dict[str, Any] = {"name": "web", "region": "nyc3", "forwarding_rules": [rule]}

    def made(**more: Any) -> int:
        return lab.ask("POST", "/v2/load_balancers", **{**body, **more}).status_code

    assert made() == 202
    assert made() == 422, "the name is taken"
    assert made(name="b", forwarding_rules=[]) == 422
    assert made(name="b", forwarding_rules=[rule, rule]) == 422
    assert made(name="b", tag="a", droplet_ids=[1]) == 422
    assert made(name="b", droplet_ids=[1]) == 422
    assert made(name="b", health_check={"check_interval_seconds": 1}) == 422
    one = lab.droplet("one")
    id = lab.ask("GET", "/v2/load_balancers").json()["load_balancers"][0]["id"]
    path = f"/v2/load_balancers/{id}"
    assert lab.ask("POST", f"{path}/droplets", droplet_ids=[one.id]).status_code == 204
    assert lab.ask("GET", path).json()["load_balancer"]["droplet_ids"] == [one.id]
    assert lab.ask("DELETE", f"{path}/droplets", droplet_ids=[one.id]).status_code == 204
    assert lab.ask("GET", path).json()["load_balancer"]["droplet_ids"] == []
    assert lab.ask("DELETE", path).status_code == 204 and lab.ask("GET", path).status_code == 404


@pytest.mark.parametrize(
    ("balancers", "said"),
    [
        ([LoadBalancer("podcast", roles=["podcast"])], "the name is taken by a droplet at"),
        ([LoadBalancer("a", roles=["podcats"])], "podcats is no app"),
        (
            [LoadBalancer("a", roles=["podcast"]), LoadBalancer("b", roles=["podcast"])],
            "has the load balancer a",
        ),
        ([LoadBalancer("a", roles=["podcast", "courses"])], "are not on the same droplets"),
        ([LoadBalancer("A!", roles=["podcast"])], "small letters, digits and - only"),
    ],
)
def test_a_mistake_is_said_with_its_line(fleet: Fleet, balancers: list[LoadBalancer], said: str) -> None:
    fleet.droplets.append(Droplet("courses", size="s-1vcpu-1gb", roles=["courses"]))
    fleet.load_balancers.extend(balancers)
    assert said in (text := problems(fleet)) and "test_balancers.py:" in text


def test_a_patch_day_and_the_firewall_know_of_it(balanced: Fleet) -> None:
    patch: Any = {**nothing(), "then_reboot": ["kernel"], "boot": 3.0}
    alone = balanced.model_copy(update={"droplets": balanced.droplets[:2]})
    assert [patchday.balanced(balanced, name) for name in ("podcast", "podcast2", "mongo")] == [
        True,
        True,
        False,
    ]
    assert not patchday.balanced(alone, "podcast"), "it has no other to go to"
    assert patchday.effect_of(balanced, "podcast", patch) == "nothing"
    assert patchday.effect_of(alone, "podcast", patch) == "podcast away: about 7 s"
    addresses = {
        d.name: {"public": f"192.0.2.{n}", "private": f"10.0.0.{n}"} for n, d in enumerate(balanced.droplets)
    }
    led: dict[str, list[str]] = {}
    host = SimpleNamespace(
        name="podcast",
        data={"fleet": balanced, "droplet": balanced.droplet("podcast"), "addresses": addresses},
        connector=SimpleNamespace(names=lambda: led),
    )
    assert Context.of(host).hidden
    led["podcast.example.com"] = ["192.0.2.0"]
    assert not Context.of(host).hidden, "visitors may still come by its own address"


def test_nginx_answers_a_load_balancer_apart_from_visitors(balanced: Fleet) -> None:
    shared: dict[str, Any] = {"ipv6": False, "http2_on": False, "http2_listen": " http2"}
    podcast = balanced.apps[0]
    values = {**shared, "site": podcast, "peers": ["10.0.0.3"], "front": None, "port": None, "timeout": 35}
    plain = render(TEMPLATES / "site.conf.j2", **values, balanced=None, ports={80: 8081, 443: 8443})
    assert "proxy_protocol" not in plain
    behind = render(TEMPLATES / "site.conf.j2", **values, balanced="10.0.0.0/24", ports={80: 8081, 443: 8443})
    assert "listen 8081 proxy_protocol;" in behind and "listen 8443 ssl http2 proxy_protocol;" in behind
    assert "set_real_ip_from 10.0.0.0/24;" in behind and "listen 443 ssl http2;" in behind


# The forwarding itself, on loopback.


@asynccontextmanager
async def target(host: str, answers: dict[str, int]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A target that says its name to who asks, and the status in `answers` to checks; (port, what came)."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line == b"PROXY UNKNOWN\r\n" and (await reader.readline()).startswith(b"GET"):
            writer.write(f"HTTP/1.0 {answers[host]} x\r\n\r\n".encode())
        else:
            came.append(line)
            writer.write(host.encode())
        writer.close()

    server = await asyncio.start_server(serve, host, answers.get("port", 0))
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()


def test_connections_go_round_the_healthy_targets(tmp_path: Path) -> None:
    async def ask(port: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        said = await reader.read()
        writer.close()
        return said.decode()

    async def until(condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)

    async def story() -> None:
        answers = {"127.0.0.2": 200, "127.0.0.3": 200}
        async with target("127.0.0.2", answers) as (port, came):
            answers["port"] = port
            async with target("127.0.0.3", answers) as (_, _others):
                check = {"protocol": "http", "port": port, "path": ALIVE, "check_interval_seconds": 0.05}
                check |= {"response_timeout_seconds": 5, "unhealthy_threshold": 2, "healthy_threshold": 2}
                said = {"address": "127.0.0.1", "ports": {"0": port}, "proxy_protocol": True, "check": check}
                config = tmp_path / "balancer.json"
                config.write_text(json.dumps({**said, "targets": ["127.0.0.2", "127.0.0.3"]}))
                balancer = Balancer(config)
                await balancer.load()
                own = balancer._servers[0].sockets[0].getsockname()[1]
                await until(lambda: list(balancer.healthy.values()) == [True, True])
                assert {await ask(own) for _ in range(4)} == {"127.0.0.2", "127.0.0.3"}
                assert came[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
                answers["127.0.0.3"] = 503
                await until(lambda: balancer.healthy["127.0.0.3"] is False)
                assert {await ask(own) for _ in range(4)} == {"127.0.0.2"}
                answers["127.0.0.3"] = 200
                await until(lambda: balancer.healthy["127.0.0.3"])
                assert {await ask(own) for _ in range(4)} == {"127.0.0.2", "127.0.0.3"}
                config.write_text(json.dumps({**said, "targets": []}))
                await balancer.load()
                assert await ask(own) == "", "nobody is there: it is closed"

    asyncio.run(story())
