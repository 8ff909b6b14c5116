"""An app outgrows its droplet: two behind an edge or a load balancer, made and patched as visitors watch."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from smallfleet.cloud.client import Client
from smallfleet.lab.descriptor import Lab
from smallfleet.secrets import Secret
from tests.lab.conftest import BIN, Workplace, eventually, traces, workplace
from tests.lab.edits import done, predicted, role
from tests.lab.visitors import TOKEN, Crowd, Site, Visit

# The database has a droplet anyway; here it is the edge as well, to save one.
SMALL = {"web1": ["podcast"], "hub": ["mongodb"]}
GROWN = {"web1": ["podcast"], "web2": ["podcast"], "hub": ["edge", "mongodb"]}
PAIR = {"web1": ["podcast"], "web2": ["podcast"], "hub": ["mongodb"]}
INVENTORY = "inventory/grow.py"
DOMAIN = "podcast.example.com"
AWAY = """
from pyinfra import host
from smallfleet.operations import balancer, edge
if host.name == "hub" and not host.data.get("balanced"):
    edge.away(name="Away", droplet="web1", seconds=host.data.seconds)
if host.name == "web1" and host.data.get("balanced"):
    balancer.left(name="Away", leaves=True, seconds=host.data.seconds)
"""


@dataclass
class Grown:
    """The fleet, and what its tests ask of it."""

    work: Workplace

    def client(self) -> Client:
        lab = Lab.load(self.work.lab)
        return Client(lab.api, Secret(lab.token))

    def public(self, droplet: str) -> str:
        return self.work.ssh(droplet, "ip -4 -o address show dev eth0").split()[3].split("/")[0]

    def address(self) -> str:
        """Where the site's name leads, and answers well."""
        site = next(one for one in self.work.sites(INVENTORY) if one["role"] == "podcast")
        assert site["status"] == 200, site
        return site["address"]

    def crowd(self, address: str, **said: bool) -> Crowd:
        site = Site("podcast", DOMAIN, address)
        post = {"method": "POST", "body": f'{{"text": "{TOKEN}"}}', "status": 201}
        visits = [
            Visit(site, "page", "/episodes/patch-day", rate=10, visitors=3, **said),
            Visit(site, "new", "/", rate=4, visitors=2, fresh=True),
            Visit(site, "static", "/static/site.css", rate=5, **said),
            Visit(site, "post", "/episodes/patch-day", rate=5, visitors=2, **post, **said),
        ]
        return Crowd(Lab.load(self.work.lab).ca, visits)

    def served(self, droplet: str) -> int:
        """Requests that the droplet's NGINX has answered."""
        return int(
            self.work.ssh(droplet, "cat /var/log/nginx/podcast.log* | grep -vc smallfleet-health || true")
        )

    def power(self, droplet: str, action: str) -> None:
        client = self.client()
        found = next(one for one in client.get("droplets")["droplets"] if one["name"] == droplet)
        client.post(f"droplets/{found['id']}/actions", {"type": action})
        wanted = {"power_off": "off", "power_on": "active"}[action]
        path = f"droplets/{found['id']}"
        eventually(lambda: client.get(path)["droplet"]["status"] == wanted, f"{droplet} is {wanted}")

    def away(self) -> list[str]:
        return self.work.ssh("hub", "ls /run/smallfleet-edge/away 2>/dev/null || true").split()


def with_load_balancer(work: Workplace) -> None:
    """The inventory with both droplets behind a load balancer."""
    path = work.directory / work.write_inventory("grow", PAIR)
    said = path.read_text().replace("import Droplet,", "import LoadBalancer, Droplet,")
    balancers = "    load_balancers=[LoadBalancer('web', roles=['podcast'])],\n"
    path.write_text(said.replace("    droplets=[", balancers + "    droplets=["))


def boots(work: Workplace) -> dict[str, str]:
    return {one: work.ssh(one, "cat /proc/sys/kernel/random/boot_id") for one in ("web1", "web2")}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    with workplace(tmp_path_factory.mktemp("edge")) as work:  # a plan tells of what a new droplet lacks
        # One machine is all visitors here.
        role("podcast", nginx__rate=None, nginx__cache=None, app__watch=2, uwsgi__harakiri=5)(work)
        (work.directory / "deploys/away.py").write_text(AWAY)
        work.write_inventory("grow", SMALL)
        work.deploy(INVENTORY, "deploys/site.py")
        yield Grown(work)


def test_a_second_droplet_and_an_edge_come_without_a_lost_request(grown: Grown) -> None:
    work, old = grown.work, grown.public("web1")
    assert grown.address() == old
    work.write_inventory("grow", GROWN)
    before = predicted(work, INVENTORY)
    # Connections of their own: a reload of NGINX ends those that wait, which browsers know to open anew.
    with grown.crowd(old, fresh=True) as crowd:
        crowd.wait_for(50)
        after = done(work, INVENTORY)
        new = grown.address()
        crowd.wait_for(len(crowd.answers) + 100)  # those who have the old address still
    print(f"\n{crowd.table()}")
    assert before == after, (before - after, after - before)
    assert ("hub", "deploys/names.py | Names: those of its sites lead to this droplet") in after
    assert not crowd.failed, crowd.table()
    assert new == grown.public("hub") != old
    # Now that nobody is led to web1 itself any more, it is there for the edge alone.
    before = predicted(work, INVENTORY)
    after = done(work, INVENTORY)
    assert before == after and {droplet for droplet, _ in after} == {"web1"}, (before, after)
    assert len(after) == 2, after
    assert done(work, INVENTORY) == set(), "nothing is left to do"
    assert work.run("fleet", "plan", INVENTORY, "--exit-code").returncode == 0


def test_the_droplets_behind_are_for_the_edge_alone(grown: Grown) -> None:
    for droplet in ("web1", "web2"):
        for port in (80, 443, 8080):
            asked = ["curl", "-sk", "-m", "3", f"http://{grown.public(droplet)}:{port}/"]
            assert subprocess.run(asked, check=False).returncode in (7, 28), f"{droplet}:{port} lets in"
    private = grown.work.ssh("web1", "ip -4 -o address show dev eth1").split()[3].split("/")[0]
    assert grown.work.ssh("web2", f"curl -s -m 3 http://{private}:8080/; echo $?").strip().endswith("28")
    assert (
        grown.work.ssh("web1", "ls /etc/letsencrypt/live 2>/dev/null | grep -c podcast || true").strip()
        == "0"
    )


def test_who_asks_is_said_by_the_edge_whatever_the_request_says(grown: Grown) -> None:
    lab, hub = Lab.load(grown.work.lab), grown.public("hub")
    asked = ["curl", "-sS", "--cacert", lab.ca, "--resolve", f"{DOMAIN}:443:{hub}", "-A", "spoof"]
    for header in ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Real-IP: 203.0.113.9"):
        asked += ["-H", header]
    for _ in range(2):  # one of each droplet
        subprocess.run([*asked, f"https://{DOMAIN}/health"], check=True, capture_output=True)
    lines = [
        line
        for droplet in ("web1", "web2")
        for line in grown.work.ssh(
            droplet, "grep '\"spoof\"' /var/log/nginx/podcast.log || true"
        ).splitlines()
    ]
    front = grown.work.ssh("hub", "grep '\"spoof\"' /var/log/nginx/podcast.log").splitlines()
    assert len(lines) == len(front) == 2
    assert {line.split()[0] for line in lines} == {line.split()[0] for line in front}
    assert not any("203.0.113.9" in line for line in lines)


def test_a_patch_day_that_nobody_notices(grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
    work = grown.work
    before = boots(work)
    for droplet in before:
        work.ssh(droplet, "touch /run/reboot-required")
    with grown.crowd(grown.public("hub")) as crowd:
        crowd.wait_for(100)
        began = crowd.now()
        ran = work.run("fleet", "patch", INVENTORY, "--security-only", "--limit", "podcast", "-y")
        ended = crowd.now()
        crowd.wait_for(len(crowd.answers) + 200)
    with capsys.disabled():
        print(f"\ntwo droplets patched and rebooted in {ended - began:.0f} s\n{crowd.table()}")
    assert not before.items() & boots(work).items(), ran.stderr[-3000:]
    assert not crowd.failed, crowd.table()
    assert crowd.slowest() < 40
    assert "away: about" not in ran.stderr
    assert grown.away() == []
    status = {droplet: grown.served(droplet) for droplet in before}
    assert all(status.values()), status


def test_a_droplet_that_is_away_gets_nothing_and_comes_back_by_itself(grown: Grown) -> None:
    with grown.crowd(grown.public("hub")) as crowd:
        grown.work.deploy(INVENTORY, "deploys/away.py", "--data", "seconds=20")
        assert grown.away() == ["web1"]
        served, answers = grown.served("web1"), len(crowd.answers)
        crowd.wait_for(answers + 40)
        if grown.away():  # the machine may be slow, and the time over
            assert grown.served("web1") - served == 0
        eventually(lambda: grown.away() == [], "web1 is back by itself")
        served = grown.served("web1")
        eventually(lambda: grown.served("web1") > served, "web1 gets requests again")
    assert not crowd.failed, crowd.table()


def power_cut(grown: Grown, crowd: Crowd) -> int:
    """Cut web2's power among visitors, and give it back; how many requests had failed by then."""
    crowd.wait_for(100)
    grown.power("web2", "power_off")
    crowd.wait_for(len(crowd.answers) + 300)
    off = len(crowd.failed)
    grown.power("web2", "power_on")
    eventually(lambda: grown.work.ssh("web2", "true; echo up", check=False) == "up\n", "web2 is up")
    served = grown.served("web2")
    eventually(lambda: grown.served("web2") > served, "web2 gets requests again")
    crowd.wait_for(len(crowd.answers) + 100)
    return off


def test_a_droplet_whose_power_goes(grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
    with grown.crowd(grown.public("hub")) as crowd:
        off = power_cut(grown, crowd)
    with capsys.disabled():
        print(f"\na droplet's power is cut\n{crowd.table()}")
    assert {answer.kind for answer in crowd.failed} <= {"post"}, crowd.table()
    # Those that were under way, and had changed something or not: nobody can know.
    assert len(crowd.failed) <= 4 and len(crowd.failed) == off, crowd.table()
    assert crowd.slowest() < 40, crowd.table()


def test_a_droplet_that_falls_silent(grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
    """As when its host dies: nothing says that it is gone, and what was sent to it gets no answer."""
    router = ["ip", "netns", "exec", Lab.load(grown.work.lab).namespace, "nft", "-f", "-"]
    droplet = next(one for one in grown.client().get("droplets")["droplets"] if one["name"] == "web2")
    link = f"pri{droplet['id']}"
    silence = f"""table inet silence {{
        chain forward {{
            type filter hook forward priority -200
            iifname {link} drop
            oifname {link} drop
        }}
    }}"""
    with grown.crowd(grown.public("hub")) as crowd:
        crowd.wait_for(100)
        subprocess.run(router, input=silence, text=True, check=True)
        crowd.wait_for(len(crowd.answers) + 300)
        subprocess.run(router, input="delete table inet silence", text=True, check=True)
        served = grown.served("web2")
        eventually(lambda: grown.served("web2") > served, "web2 gets requests again")
    with capsys.disabled():
        print(f"\na droplet falls silent\n{crowd.table()}")
    # A GET waits its time (harakiri and 10 s) and is asked again; a POST may have been done, so it is not.
    assert {answer.kind for answer in crowd.failed} <= {"post"}, crowd.table()
    assert len(crowd.failed) <= 8 and crowd.slowest() < 40, crowd.table()


def test_back_to_one_droplet(grown: Grown) -> None:
    work, hub = grown.work, grown.public("hub")
    work.write_inventory("grow", SMALL)
    before = predicted(work, INVENTORY)
    with grown.crowd(hub, fresh=True) as crowd:
        after = done(work, INVENTORY)
        assert grown.address() == grown.public("web1")
        crowd.wait_for(len(crowd.answers) + 50)
    assert before == after, (before - after, after - before)
    assert not crowd.failed, crowd.table()
    assert done(work, INVENTORY) == set()


# The same with DigitalOcean's load balancer. TLS passes through it, so a visitor's connection ends with its
# droplet: who keeps one open opens another then, as browsers do. Here each request has its own.


def balancer(grown: Grown) -> dict:
    return next(iter(grown.client().get("load_balancers")["load_balancers"]))


def test_a_load_balancer_comes_without_a_lost_request(grown: Grown) -> None:
    work, old = grown.work, grown.public("web1")
    with_load_balancer(work)
    before = predicted(work, INVENTORY)
    assert (
        "load balancer web in front of podcast, $12.00 a month" in work.run("fleet", "plan", INVENTORY).stdout
    )
    with grown.crowd(old, fresh=True) as crowd:
        crowd.wait_for(50)
        after = done(work, INVENTORY)
        new = grown.address()
        crowd.wait_for(len(crowd.answers) + 100)
    print(f"\n{crowd.table()}")
    assert before == after, (before - after, after - before)
    assert not crowd.failed, crowd.table()
    assert new == balancer(grown)["ip"] != old
    before = predicted(work, INVENTORY)
    after = done(work, INVENTORY)
    assert before == after and after == {("web1", "deploys/firewall.py | Set the firewall's rules")}
    assert done(work, INVENTORY) == set(), "nothing is left to do"
    # Who asks is the visitor, not the load balancer.
    said = work.ssh("web1", "tail -n 1 /var/log/nginx/podcast.log").split()[0]
    lab = Lab.load(work.lab)
    for _ in range(4):
        asked = ["curl", "-sS", "--cacert", lab.ca, "--resolve", f"{DOMAIN}:443:{new}", "-A", "through"]
        subprocess.run([*asked, f"https://{DOMAIN}/health"], check=True, capture_output=True)
    lines = {
        droplet: work.ssh(droplet, "grep '\"through\"' /var/log/nginx/podcast.log || true").splitlines()
        for droplet in ("web1", "web2")
    }
    assert all(lines.values()), "both have their turn"
    assert {line.split()[0] for found in lines.values() for line in found} == {said}


def test_a_patch_day_behind_a_load_balancer(grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
    work = grown.work
    before = boots(work)
    for droplet in before:
        work.ssh(droplet, "touch /run/reboot-required")
    with grown.crowd(balancer(grown)["ip"], fresh=True) as crowd:
        crowd.wait_for(100)
        ran = work.run("fleet", "patch", INVENTORY, "--security-only", "--limit", "podcast", "-y")
        crowd.wait_for(len(crowd.answers) + 100)
    with capsys.disabled():
        print(f"\na patch day behind a load balancer\n{crowd.table()}")
    assert not before.items() & boots(work).items(), ran.stderr[-3000:]
    assert not crowd.failed, crowd.table()


def test_a_droplet_that_wants_no_requests_of_the_load_balancer_gets_none(grown: Grown) -> None:
    with grown.crowd(balancer(grown)["ip"], fresh=True) as crowd:
        grown.work.deploy(INVENTORY, "deploys/away.py", "--data", "seconds=25", "--data", "balanced=true")
        served, answers = grown.served("web1"), len(crowd.answers)
        crowd.wait_for(answers + 40)
        if "leaving" in grown.work.ssh("web1", "ls /run"):  # the machine may be slow, and the time over
            assert grown.served("web1") - served == 0
        served = grown.served("web1")
        eventually(lambda: grown.served("web1") > served, "web1 gets requests again by itself")
    assert not crowd.failed, crowd.table()


def test_a_droplets_power_goes_behind_a_load_balancer(
    grown: Grown, capsys: pytest.CaptureFixture[str]
) -> None:
    with grown.crowd(balancer(grown)["ip"], fresh=True) as crowd:
        off = power_cut(grown, crowd)
    with capsys.disabled():
        print(f"\na droplet's power is cut behind a load balancer\n{crowd.table()}")
    # What was under way: a load balancer of TCP knows no requests, and repeats none.
    assert len(crowd.failed) == off <= 8, crowd.table()


def test_a_fleet_goes_with_its_load_balancer(grown: Grown) -> None:
    words = [str(BIN / "fleet"), "destroy", INVENTORY]
    environment = grown.work.environment()
    said = subprocess.run(
        words,
        cwd=grown.work.directory,
        env=environment,
        input="grow\n",
        text=True,
        capture_output=True,
        check=True,
    )
    assert "(load balancer " in said.stderr
    assert grown.client().get("load_balancers")["load_balancers"] == []
    assert not [line for line in traces(grown.work.lab) if "smallfleet.lab.balancer" in line]
