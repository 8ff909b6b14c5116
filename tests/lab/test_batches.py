"""Two droplets with one app: the canary first, and nothing further when it is not healthy."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from smallfleet.lab import repositories
from smallfleet.lab.descriptor import Lab
from tests.lab.conftest import INSTALLED, PROJECT, Workplace, workplace
from tests.lab.faults import Cost, record, timed, told
from tests.lab.visitors import Crowd, Site, Visit


@dataclass
class Pair:
    """web1 and web2 with the podcast, and its source to change and push."""

    work: Workplace
    inventory: str
    source: Path

    def push(self, text: str) -> str:
        """A version of the podcast with this text at its module's end; its commit."""
        shutil.rmtree(self.source, ignore_errors=True)
        shutil.copytree(PROJECT / "demo/podcast", self.source, ignore=repositories.IGNORED)
        module = self.source / "podcast/__init__.py"
        module.write_text(f"{module.read_text()}\n{text}\n")
        return repositories.push(self.source, Lab.load(self.work.lab).repository("podcast"), text)

    def deploy(self) -> tuple[int, str]:
        done = self.work.run("pyinfra", self.inventory, "deploys/webapp.py", "-y", check=False)
        return done.returncode, done.stdout + done.stderr

    def crowd(self) -> Crowd:
        """Visitors of both droplets."""
        visits = []
        for droplet in ("web1", "web2"):
            where = self.work.ssh(droplet, "ip -4 -o address show dev eth0").split()[3].split("/")[0]
            site = Site(droplet, "podcast.example.com", where)
            visits.append(Visit(site, "page", "/episodes/patch-day", rate=5, shows="Patch day"))
            visits.append(Visit(site, "new", "/health", rate=5, fresh=True, shows="ok"))
        return Crowd(Lab.load(self.work.lab).ca, visits)

    def listing(self, droplet: str) -> list[dict]:
        return json.loads(self.work.ssh(droplet, "smallfleet-release list podcast"))

    def serving(self) -> dict[str, str]:
        """The commit that each droplet serves."""
        return {
            droplet: next(row["commit"] for row in self.listing(droplet) if row["serves"])
            for droplet in ("web1", "web2")
        }


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("batches")
    with workplace(directory, INSTALLED) as work:
        path = work.directory / "roles/podcast.yml"
        role = yaml.safe_load(path.read_text())
        role["app"]["watch"] = 2
        path.write_text(yaml.safe_dump(role, sort_keys=False))
        droplets = {"web1": ["podcast", "mongodb"], "web2": ["podcast"]}
        inventory = work.write_inventory("pair", droplets)
        work.deploy(inventory, "deploys/site.py")
        yield Pair(work, inventory, directory / "source/podcast")


def rows(said: str) -> dict[str, str]:
    """The summary's lines by droplet."""
    lines = [line for line in said.splitlines() if line.startswith("│ podcast")]
    return {line.split("│")[2].strip(): line for line in lines}


def test_both_have_a_certificate_for_the_one_domain(pair: Pair) -> None:
    lab = Lab.load(pair.work.lab)
    for droplet in ("web1", "web2"):
        where = pair.work.ssh(droplet, "ip -4 -o address show dev eth0").split()[3].split("/")[0]
        resolve = ["--resolve", f"podcast.example.com:443:{where}"]
        asked = ["curl", "-sSf", "--cacert", lab.ca, *resolve, "https://podcast.example.com/health"]
        assert pair.work.ssh(droplet, "ls /etc/letsencrypt/live/podcast/cert.pem")
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "ok\n"


def test_a_good_release_goes_canary_first(pair: Pair) -> None:
    commit = pair.push("# better")
    status, said = pair.deploy()
    assert status == 0, said
    assert pair.serving() == {"web1": commit, "web2": commit}
    latest = {droplet: pair.listing(droplet)[0]["release"] for droplet in ("web1", "web2")}
    assert latest["web1"] < latest["web2"], "the second was begun when the first was done"
    assert set(rows(said)) == {"web1", "web2"} and said.count("released") == 2, said


def test_a_bad_release_stops_at_the_canary(pair: Pair) -> None:
    before = pair.serving()
    bad = pair.push("raise SystemExit('not today')")
    with pair.crowd() as crowd:
        crowd.wait_for(20)
        with timed() as seconds:
            status, said = pair.deploy()
        crowd.wait_for(len(crowd.answers) + 20)
    print(said)
    assert status != 0
    assert "not today" in said
    assert "exception" not in said
    assert pair.serving() == before
    assert pair.listing("web1")[0]["commit"] == bad and pair.listing("web1")[0]["health"] == "refused"
    assert all(row["commit"] != bad for row in pair.listing("web2"))
    summary = rows(said)
    assert "refused: it serves on" in summary["web1"] and before["web1"][:8] in summary["web1"]
    assert "left as it was, since web1 failed" in summary["web2"] and before["web2"][:8] in summary["web2"]
    cause = "raise SystemExit('not today') in a release for web1 and web2"
    words = told(said, "not today", "left as it was, since web1 failed")
    counts = len(crowd.answers), len(crowd.failed)
    record(Cost("A bad release", "The canary is not healthy", cause, *counts, words, seconds()))
    assert not crowd.failed, crowd.table()
    # When it is mended all go on.
    good = pair.push("# mended")
    status, said = pair.deploy()
    assert status == 0, said
    assert pair.serving() == {"web1": good, "web2": good}
