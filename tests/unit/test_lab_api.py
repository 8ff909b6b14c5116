"""The lab's API over real loopback HTTP, driven by python-digitalocean; its parts are kept in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import digitalocean as do
import pytest
import requests
import uvicorn

from smallfleet.lab import descriptor
from smallfleet.lab.api import create_app
from smallfleet.lab.errors import LabError
from smallfleet.lab.parts import BalancerSpec, DropletRules, MachineSpec, Parts, Record

TOKEN = "dop_v1_test"


class Machines:
    """Machines that are on or off, in memory; `gate` holds up what is asked of them."""

    def __init__(self) -> None:
        self.on: dict[int, bool] = {}
        self.specs: dict[int, MachineSpec] = {}
        self.images: set[str] = set()
        self.log: list[tuple[str, int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def _do(self, what: str, id: int, on: bool) -> None:
        assert self.gate.wait(20)
        if id not in self.on:
            raise LabError(f"no machine {id}")
        self.log.append((what, id))
        self.on[id] = on

    def create(self, spec: MachineSpec) -> None:
        assert self.gate.wait(20)
        self.specs[spec.id], self.on[spec.id] = spec, True

    def start(self, id: int) -> None:
        self._do("start", id, True)

    def shutdown(self, id: int) -> None:
        self._do("shutdown", id, False)

    def power_off(self, id: int) -> None:
        self._do("power_off", id, False)

    def reboot(self, id: int) -> None:
        self._do("reboot", id, True)

    def power_cycle(self, id: int) -> None:
        self._do("power_cycle", id, True)

    def destroy(self, id: int) -> None:
        self.on.pop(id, None)

    def running(self, id: int) -> bool:
        return self.on.get(id, False)

    def snapshot(self, id: int, image: str) -> float:
        self.images.add(image)
        return 1.25

    def delete_snapshot(self, image: str) -> None:
        self.images.remove(image)

    def rebuild(self, id: int, image: str) -> None:
        self._do(f"rebuild {image}", id, True)

    def resize(self, id: int, memory: int, vcpus: int) -> None:
        self.log.append((f"resize {memory} {vcpus}", id))


class Network:
    def __init__(self) -> None:
        self.rules: dict[int, DropletRules] = {}
        self.reserved: dict[str, int | None] = {}

    def apply_firewalls(self, rules: list[DropletRules]) -> None:
        self.rules = {rule.id: rule for rule in rules}

    def assign_reserved_ip(self, address: str, droplet: int | None) -> None:
        self.reserved[address] = droplet


class Balancers:
    def __init__(self) -> None:
        self.specs: list[BalancerSpec] = []

    def apply(self, specs: list[BalancerSpec]) -> None:
        self.specs = specs


class Dns:
    def __init__(self) -> None:
        self.domains: list[str] = []
        self.records: list[Record] = []

    def publish(self, domains: list[str], records: list[Record]) -> None:
        self.domains, self.records = domains, records


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.01)


class Lab:
    """The API in a uvicorn thread on a free port of loopback."""

    def __init__(self, state: Path, rate_limit: int = 5000) -> None:
        self.state, self.rate_limit = state, rate_limit
        self.machines, self.network, self.dns = Machines(), Network(), Dns()
        self.balancers = Balancers()
        self.up()

    def up(self) -> None:
        parts = Parts(self.machines, self.network, self.dns, self.balancers, "198.18.7.0/24")
        app = create_app(parts, TOKEN, self.state, self.rate_limit)
        listener = socket.create_server(("127.0.0.1", 0))
        self.root = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        until(lambda: self.server.started, "the API's start")
        os.environ["DIGITALOCEAN_END_POINT"] = f"{self.root}/v2/"

    def down(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def ask(self, method: str, path: str, /, token: str = TOKEN, **body: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, self.root + path, headers=headers, json=body or None, timeout=20)

    def manager(self) -> do.Manager:
        return do.Manager(token=TOKEN)

    def droplet(self, name: str, **more: Any) -> do.Droplet:
        """A droplet that is up."""
        choice = {"region": "nyc3", "image": "debian-12-x64", "size_slug": "s-1vcpu-1gb", **more}
        droplet = do.Droplet(token=TOKEN, name=name, **choice)
        droplet.create()
        assert self.wait(droplet.action_ids[0]) == "completed"
        return droplet.load()

    def wait(self, action: int) -> str:
        """The status that the action ends with."""
        until(lambda: do.Action.get_object(TOKEN, action).status != "in-progress", f"action {action}")
        return do.Action.get_object(TOKEN, action).status

    def act(self, droplet: do.Droplet, what: str, *words: Any) -> str:
        return self.wait(getattr(droplet, what)(*words)["action"]["id"])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("DIGITALOCEAN_END_POINT", "")
    lab = Lab(tmp_path / "state.json")
    yield lab
    lab.machines.gate.set()
    lab.down()


def public_key(seed: str) -> str:
    kind = b"ssh-ed25519"
    point = hashlib.sha256(seed.encode()).digest()
    blob = len(kind).to_bytes(4, "big") + kind + len(point).to_bytes(4, "big") + point
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {seed}@example.com"


def rule(port: str, **targets: Any) -> do.InboundRule:
    return do.InboundRule(protocol="tcp", ports=port, sources=do.Sources(**targets))


def test_token_errors_and_limits(lab: Lab) -> None:
    refused = lab.ask("GET", "/v2/account", token="wrong")
    assert (refused.status_code, refused.json()["id"]) == (401, "unauthorized")
    missing = lab.ask("GET", "/v2/droplets/1")
    assert missing.status_code == 404
    assert set(missing.json()) == {"id", "message", "request_id"}
    assert missing.json()["id"] == "not_found"
    assert missing.headers["ratelimit-limit"] == "5000"
    left = int(missing.headers["ratelimit-remaining"])
    assert int(lab.ask("GET", "/v2/account").headers["ratelimit-remaining"]) == left - 1
    assert lab.ask("GET", "/v2/nothing").json()["id"] == "not_found"
    assert lab.ask("POST", "/v2/vpcs", region="nyc3").status_code == 422
    broken = requests.post(
        f"{lab.root}/v2/tags", data="{", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
    )
    assert (broken.status_code, broken.json()["id"]) == (400, "bad_request")
    assert lab.manager().get_account().status == "active"


def test_rate_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITALOCEAN_END_POINT", "")
    lab = Lab(tmp_path / "state.json", rate_limit=2)
    try:
        assert [lab.ask("GET", "/v2/account").status_code for _ in range(3)] == [200, 200, 429]
        refused = lab.ask("GET", "/v2/account")
        assert refused.json()["id"] == "too_many_requests"
        assert 0 < int(refused.headers["retry-after"]) <= 3600
    finally:
        lab.down()


def test_catalogue(lab: Lab) -> None:
    sizes = {size.slug: size for size in lab.manager().get_all_sizes()}
    assert sizes["s-1vcpu-1gb"].price_monthly == 6
    assert sizes["s-1vcpu-2gb"].price_monthly == 12
    for size in sizes.values():  # a month is 672 hours at most
        assert size.price_hourly * 672 == pytest.approx(size.price_monthly, rel=0.01)
    assert "nyc3" in [region.slug for region in lab.manager().get_all_regions()]
    assert [image.slug for image in lab.manager().get_distro_images()] == ["debian-12-x64", "debian-13-x64"]
    assert do.Image.get_object(TOKEN, "debian-12-x64").distribution == "Debian"


def test_keys(lab: Lab) -> None:
    key = do.SSHKey(token=TOKEN, name="laptop", public_key=public_key("a"))
    key.create()
    found = lab.manager().get_ssh_key(key.id)
    blob = base64.b64decode(public_key("a").split()[1])
    assert found.fingerprint.replace(":", "") == hashlib.md5(blob).hexdigest()
    assert len(found.fingerprint) == 47
    with pytest.raises(do.DataReadError, match="already in use"):
        do.SSHKey(token=TOKEN, name="again", public_key=public_key("a")).create()
    assert lab.ask("POST", "/v2/account/keys", name="bad", public_key="ssh-rsa AAAA").status_code == 422
    key.name = "desk"
    key.edit()
    assert [key.name for key in lab.manager().get_all_sshkeys()] == ["desk"]
    droplet = lab.droplet("keyed", ssh_keys=[found.fingerprint, key.id])
    assert lab.machines.specs[droplet.id].ssh_keys == (public_key("a"), public_key("a"))
    key.destroy()
    assert lab.manager().get_all_sshkeys() == []


def test_vpcs(lab: Lab) -> None:
    vpc = do.VPC(token=TOKEN, name="prod", region="nyc3", ip_range="10.116.0.0/24").create()
    same = lab.ask("POST", "/v2/vpcs", name="prod", region="nyc3", ip_range="10.117.0.0/24")
    assert (same.status_code, same.json()["id"]) == (409, "conflict")
    overlap = lab.ask("POST", "/v2/vpcs", name="other", region="nyc3", ip_range="10.116.0.0/20")
    assert overlap.status_code == 422
    assert "overlaps" in overlap.json()["message"]
    first, second = lab.droplet("a", vpc_uuid=vpc.id), lab.droplet("b", vpc_uuid=vpc.id)
    assert [first.private_ip_address, second.private_ip_address] == ["10.116.0.2", "10.116.0.3"]
    assert [first.ip_address, second.ip_address] == ["198.18.7.10", "198.18.7.11"]
    assert lab.ask("DELETE", f"/v2/vpcs/{vpc.id}").status_code == 409
    members = lab.ask("GET", f"/v2/vpcs/{vpc.id}/members").json()["members"]
    assert [member["name"] for member in members] == ["a", "b"]
    third = lab.droplet("c")
    default = do.VPC.get_object(TOKEN, third.vpc_uuid)
    assert (default.name, default.default) == ("default-nyc3", True)
    for droplet in (first, second):
        droplet.destroy()
    vpc.destroy()
    assert [vpc.name for vpc in lab.manager().get_all_vpcs()] == ["default-nyc3"]


def test_droplet_from_new_to_gone(lab: Lab) -> None:
    lab.machines.gate.clear()
    droplet = do.Droplet(
        token=TOKEN,
        name="web-1",
        region="nyc3",
        image="debian-12-x64",
        size_slug="s-1vcpu-2gb",
        tags=["fleet:prod", "web"],
        user_data="#!/bin/sh\n",
    )
    droplet.create()
    assert droplet.load().status == "new"
    assert droplet.locked
    assert droplet.get_actions()[0].status == "in-progress"
    busy = lab.ask("POST", f"/v2/droplets/{droplet.id}/actions", type="reboot")
    assert (busy.status_code, busy.json()["message"]) == (422, "Droplet already has a pending event.")
    lab.machines.gate.set()
    assert lab.wait(droplet.action_ids[0]) == "completed"
    droplet.load()
    assert (droplet.status, droplet.memory, droplet.size_slug) == ("active", 2048, "s-1vcpu-2gb")
    assert (droplet.image["slug"], droplet.region["slug"]) == ("debian-12-x64", "nyc3")
    assert droplet.tags == ["fleet:prod", "web"]
    spec = lab.machines.specs[droplet.id]
    assert (spec.memory, spec.vcpus, spec.user_data, spec.vpc_id) == (
        2048,
        1,
        "#!/bin/sh\n",
        droplet.vpc_uuid,
    )

    assert lab.act(droplet, "reboot") == "completed"
    assert lab.act(droplet, "power_cycle") == "completed"
    assert lab.act(droplet, "shutdown") == "completed"
    assert droplet.load().status == "off"
    assert lab.ask("POST", f"/v2/droplets/{droplet.id}/actions", type="reboot").status_code == 422
    assert lab.act(droplet, "resize", "s-2vcpu-4gb") == "completed"
    assert ("resize 4096 2", droplet.id) in lab.machines.log
    assert lab.ask("POST", f"/v2/droplets/{droplet.id}/actions", type="resize", size="x").status_code == 422
    assert lab.act(droplet, "power_on") == "completed"
    assert lab.act(droplet, "rename", "web-2") == "completed"
    assert (droplet.load().status, droplet.name, droplet.memory) == ("active", "web-2", 4096)
    lab.machines.on[droplet.id] = False  # halted from inside
    assert droplet.load().status == "off"
    droplet.destroy()
    assert lab.machines.on == {}
    with pytest.raises(do.NotFoundError):
        droplet.load()


def test_snapshots(lab: Lab) -> None:
    droplet = lab.droplet("web")
    assert lab.act(droplet, "take_snapshot", "before") == "completed"
    (snapshot,) = lab.manager().get_droplet_snapshots()
    assert (snapshot.name, snapshot.size_gigabytes, snapshot.resource_id) == ("before", 1.25, str(droplet.id))
    assert droplet.load().snapshot_ids == [int(snapshot.id)]
    assert lab.droplet("copy", image=int(snapshot.id)).image["name"] == "before"
    assert f"snapshot-{snapshot.id}" in [spec.image for spec in lab.machines.specs.values()]
    assert lab.act(droplet, "rebuild", int(snapshot.id)) == "completed"
    assert (f"rebuild snapshot-{snapshot.id}", droplet.id) in lab.machines.log
    snapshot.destroy()
    assert lab.machines.images == set()


def test_many_and_pages(lab: Lab) -> None:
    names = [f"web-{n}" for n in range(8)]
    many = do.Droplet.create_multiple(
        token=TOKEN, names=names, region="nyc3", image="debian-12-x64", size="s-1vcpu-1gb", tags=["fleet"]
    )
    assert [droplet.name for droplet in many] == names
    lab.droplet("web-0")  # names may repeat
    until(lambda: {d.status for d in lab.manager().get_all_droplets()} == {"active"}, "all active")
    assert len({d.ip_address for d in lab.manager().get_all_droplets()}) == 9
    page = lab.ask("GET", "/v2/droplets?tag_name=fleet&per_page=3&page=2").json()
    assert [d["name"] for d in page["droplets"]] == names[3:6]
    assert page["meta"] == {"total": 8}
    assert set(page["links"]["pages"]) == {"first", "prev", "next", "last"}
    assert "tag_name=fleet" in page["links"]["pages"]["next"]
    found = lab.manager().get_all_droplets(params={"per_page": 2, "tag_name": "fleet"})
    assert [d.name for d in found] == names  # python-digitalocean follows the links
    assert len(lab.ask("GET", "/v2/droplets?name=web-0").json()["droplets"]) == 2
    acted = lab.ask("POST", "/v2/droplets/actions?tag_name=fleet", type="power_off").json()["actions"]
    assert {lab.wait(action["id"]) for action in acted} == {"completed"}
    assert lab.ask("DELETE", "/v2/droplets?tag_name=fleet").status_code == 204
    assert [d.name for d in lab.manager().get_all_droplets()] == ["web-0"]
    too_many = lab.ask(
        "POST", "/v2/droplets", names=names * 2, region="nyc3", image="debian-12-x64", size="s-1vcpu-1gb"
    )
    assert too_many.status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "under_score"},
        {"region": "mars1"},
        {"size": "huge"},
        {"image": "plan9"},
        {"ssh_keys": [12]},
        {"vpc_uuid": "none"},
    ],
)
def test_refused_droplets(lab: Lab, wrong: dict[str, Any]) -> None:
    right = {"name": "web", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    refused = lab.ask("POST", "/v2/droplets", **{**right, **wrong})
    assert (refused.status_code, refused.json()["id"]) == (422, "unprocessable_entity")
    assert lab.manager().get_all_droplets() == []


def test_firewalls_follow_tags_and_droplets(lab: Lab) -> None:
    do.Tag(token=TOKEN, name="web").create()
    do.Tag(token=TOKEN, name="db").create()
    firewall = do.Firewall(
        token=TOKEN,
        name="db",
        inbound_rules=[rule("27017", tags=["web"]), rule("22", addresses=["0.0.0.0/0", "::/0"])],
        outbound_rules=[
            do.OutboundRule(
                protocol="tcp", ports="all", destinations=do.Destinations(addresses=["0.0.0.0/0"])
            )
        ],
        tags=["db"],
    )
    firewall.create()
    mongo = lab.droplet("mongo", tags=["db"])
    assert lab.network.rules[mongo.id].inbound[0].addresses == ()
    web = lab.droplet("web", tags=["web"])
    rules = lab.network.rules
    assert set(rules) == {mongo.id}
    assert set(rules[mongo.id].inbound[0].addresses) == {
        f"{web.ip_address}/32",
        f"{web.private_ip_address}/32",
    }
    assert rules[mongo.id].inbound[1].addresses == ("0.0.0.0/0", "::/0")
    assert rules[mongo.id].outbound[0].ports == "all"
    do.Tag(token=TOKEN, name="db").add_droplets([web.id])
    assert set(lab.network.rules) == {mongo.id, web.id}
    do.Tag(token=TOKEN, name="db").remove_droplets([web.id])
    firewall.add_droplets([web.id])
    assert do.Firewall.get_object(TOKEN, firewall.id).droplet_ids == [web.id]
    more: dict[str, Any] = {
        "inbound_rules": [{"protocol": "tcp", "ports": "80", "sources": {"droplet_ids": [web.id]}}]
    }
    assert lab.ask("POST", f"/v2/firewalls/{firewall.id}/rules", **more).status_code == 204
    assert [r.ports for r in lab.network.rules[web.id].inbound] == ["27017", "22", "80"]
    assert lab.ask("DELETE", f"/v2/firewalls/{firewall.id}/rules", **more).status_code == 204
    assert [r.ports for r in lab.network.rules[web.id].inbound] == ["27017", "22"]
    assert lab.ask("POST", "/v2/firewalls", name="db", **more).status_code == 409
    assert lab.ask("POST", "/v2/firewalls", name="x", tags=["no"], **more).status_code == 422
    web.destroy()
    assert set(lab.network.rules) == {mongo.id}
    assert lab.network.rules[mongo.id].inbound[0].addresses == ()
    firewall.destroy()
    assert lab.network.rules == {}


def test_domains(lab: Lab) -> None:
    domain = do.Domain(token=TOKEN, name="example.com", ip_address="198.18.7.10")
    domain.create()
    with pytest.raises(do.DataReadError, match="already exists"):
        domain.create()
    made = domain.create_new_domain_record(type="A", name="podcast", data="198.18.7.11", ttl=60)
    domain.create_new_domain_record(type="CNAME", name="www", data="@")
    domain.create_new_domain_record(type="MX", name="@", data="mail.example.net.", priority=10)
    assert lab.dns.domains == ["example.com"]
    served = {(r.type, r.name, r.data, r.ttl, r.priority) for r in lab.dns.records if r.type != "NS"}
    assert served == {
        ("A", "example.com", "198.18.7.10", 1800, None),
        ("A", "podcast.example.com", "198.18.7.11", 60, None),
        ("CNAME", "www.example.com", "example.com", 1800, None),
        ("MX", "example.com", "mail.example.net", 1800, 10),
    }
    path = "/v2/domains/example.com/records"
    for wrong in (
        {"type": "A", "name": "x", "data": "nowhere"},
        {"type": "CNAME", "name": "x", "data": "example.com"},
        {"type": "CNAME", "name": "podcast", "data": "@"},
        {"type": "MX", "name": "x", "data": "@"},
        {"type": "WHAT", "name": "x", "data": "y"},
    ):
        assert lab.ask("POST", path, **wrong).status_code == 422
    found = lab.ask("GET", f"{path}?type=A&name=podcast.example.com").json()["domain_records"]
    assert [record["id"] for record in found] == [made["domain_record"]["id"]]
    domain.update_domain_record(id=found[0]["id"], domain="example.com", data="198.18.7.12")
    assert "198.18.7.12" in [record.data for record in lab.dns.records]
    assert len(domain.get_records(params={"per_page": 2})) == 7
    domain.load()
    assert "podcast.example.com. 60 IN A 198.18.7.12" in domain.zone_file
    domain.delete_domain_record(id=found[0]["id"])
    assert "podcast.example.com" not in [record.name for record in lab.dns.records]
    domain.destroy()
    assert (lab.dns.domains, lab.dns.records) == ([], [])


def test_reserved_ips(lab: Lab) -> None:
    droplet = lab.droplet("web")
    address = do.FloatingIP(token=TOKEN, droplet_id=droplet.id)
    address.create()
    assert lab.network.reserved == {address.ip: droplet.id}
    assert do.FloatingIP.get_object(TOKEN, address.ip).droplet["name"] == "web"
    assert address.unassign()["action"]["status"] == "completed"
    assert lab.network.reserved == {address.ip: None}
    address.assign(droplet.id)
    droplet.destroy()
    assert lab.network.reserved == {address.ip: None}
    assert lab.ask("GET", "/v2/reserved_ips").json()["reserved_ips"][0]["droplet"] is None
    address.destroy()
    assert lab.manager().get_all_floating_ips() == []


def test_tags(lab: Lab) -> None:
    lab.droplet("web", tags=["Fleet"])
    assert [tag.name for tag in lab.manager().get_all_tags()] == ["Fleet"]
    resources = lab.ask("GET", "/v2/tags/fleet").json()["tag"]["resources"]
    assert (resources["count"], resources["droplets"]["count"]) == (1, 1)
    assert lab.ask("POST", "/v2/tags", name="no spaces").status_code == 422
    do.Tag(token=TOKEN, name="Fleet").delete()
    assert lab.manager().get_all_droplets()[0].tags == []


def test_faults(lab: Lab) -> None:
    fault: dict[str, Any] = {
        "method": "GET",
        "path": "^/v2/droplets$",
        "status": 429,
        "retry_after": 3,
        "times": 2,
    }
    assert lab.ask("POST", "/lab/faults", token="wrong", **fault).status_code == 401
    assert lab.ask("POST", "/lab/faults", **fault).status_code == 204
    first = lab.ask("GET", "/v2/droplets")
    assert (first.status_code, first.headers["retry-after"]) == (429, "3")
    assert lab.ask("GET", "/v2/account").status_code == 200
    assert [lab.ask("GET", "/v2/droplets").status_code for _ in range(2)] == [429, 200]
    lab.ask("POST", "/lab/faults", path="/v2/account", delay=0.3)
    begun = time.monotonic()
    assert lab.ask("GET", "/v2/account").status_code == 200
    assert time.monotonic() - begun >= 0.3
    lab.ask("POST", "/lab/faults", errored_droplet="web")
    droplet = do.Droplet(
        token=TOKEN, name="web", region="nyc3", image="debian-12-x64", size_slug="s-1vcpu-1gb"
    )
    droplet.create()
    assert lab.wait(droplet.action_ids[0]) == "errored"
    assert droplet.load().status == "new"
    assert lab.machines.on == {}
    droplet.destroy()
    assert lab.ask("GET", "/lab/faults").json() == {"faults": []}
    assert lab.ask("POST", "/lab/faults", path="(", status=500).status_code == 422


def test_destroyed_while_it_is_made(lab: Lab) -> None:
    lab.machines.gate.clear()
    droplet = do.Droplet(
        token=TOKEN, name="web", region="nyc3", image="debian-12-x64", size_slug="s-1vcpu-1gb"
    )
    droplet.create()
    destroyer = threading.Thread(target=droplet.destroy)
    destroyer.start()
    lab.machines.gate.set()
    destroyer.join(20)
    assert lab.wait(droplet.action_ids[0]) in ("completed", "errored")
    assert lab.machines.on == {}
    assert lab.manager().get_all_droplets() == []


def test_machine_that_fails(lab: Lab) -> None:
    droplet = lab.droplet("web")
    action = droplet.power_off()["action"]["id"]
    assert lab.wait(action) == "completed"
    del lab.machines.on[droplet.id]
    assert lab.act(droplet, "power_on") == "errored"
    assert droplet.load().status == "off"


def test_state_survives(lab: Lab) -> None:
    do.Tag(token=TOKEN, name="web").create()
    do.Firewall(
        token=TOKEN, name="f", inbound_rules=[rule("22", addresses=["0.0.0.0/0"])], tags=["web"]
    ).create()
    do.Domain(token=TOKEN, name="example.com", ip_address="198.18.7.10").create()
    on, off = lab.droplet("on", tags=["web"]), lab.droplet("off")
    lab.act(off, "power_off")
    assert lab.state.stat().st_mode & 0o777 == 0o600
    lab.down()
    state = json.loads(lab.state.read_text())  # as a lab that was killed leaves it
    next(iter(state["actions"].values())).update(status="in-progress", completed_at=None)
    lab.state.write_text(json.dumps(state))
    lab.machines.on = dict.fromkeys(lab.machines.on, False)
    lab.network.rules, lab.dns.domains = {}, []
    lab.up()
    assert {d.name: d.status for d in lab.manager().get_all_droplets()} == {"on": "active", "off": "off"}
    assert set(lab.network.rules) == {on.id}
    assert lab.dns.domains == ["example.com"]
    assert do.Action.get_object(TOKEN, next(iter(state["actions"].values()))["id"]).status == "errored"
    assert lab.droplet("new").id > off.id


def test_an_account_has_so_many_droplets_and_no_more(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALLFLEET_LAB_DROPLETS", "1")
    asked = {"region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    answers = [lab.ask("POST", "/v2/droplets", name=name, **asked) for name in ("one", "two")]
    assert [answer.status_code for answer in answers] == [202, 422]
    assert "droplet limit" in answers[1].json()["message"]
    monkeypatch.setenv("SMALLFLEET_LAB_DROPLETS", "many")
    with pytest.raises(LabError, match="a number was expected"):
        descriptor.droplet_limit()
