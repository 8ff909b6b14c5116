"""The fleet and its roles: what is right is read, what is wrong is said with file and line, all at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from smallfleet import Droplet, Firewall, Fleet, FleetError
from smallfleet.context import Context
from smallfleet.inventory import load_inventory
from smallfleet.lab import descriptor
from smallfleet.model.checks import SIZE
from smallfleet.model.placement import circles, order
from smallfleet.model.roles import KINDS, Application, AppRole, MongodbRole, NginxRole
from smallfleet.model.yamlfile import read_yaml

PROJECT = Path(__file__).resolve().parents[2]
SITES = ["podcast", "courses", "bytes", "api", "search", "video", "media"]


@pytest.fixture(autouse=True)
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the project's roles and a key, which is the current one."""
    shutil.copytree(PROJECT / "roles", tmp_path / "roles")
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA owner@example.com\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def eight(**changes: Any) -> Fleet:
    droplets = [Droplet(name, size="s-1vcpu-1gb", roles=[name]) for name in SITES]
    droplets.append(Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"]))
    said = {"name": "prod", "vpc": "10.116.0.0/24", "domain": "example.com", "ssh_keys": ["id.pub"]}
    return Fleet(**{**said, "droplets": droplets, **changes})


def edit(role: str, change: dict[str, Any]) -> None:
    """Lay `change` over a role file, as an owner would by hand."""
    path = Path("roles", f"{role}.yml")
    data = read_yaml(path, []).data  # type: ignore[union-attr]
    path.write_text(yaml.safe_dump({**data, **change}, sort_keys=False))


def problems(fleet: Fleet) -> str:
    with pytest.raises(FleetError) as caught:
        fleet.roles  # noqa: B018
    return str(caught.value)


def test_groups_are_one_per_role_with_the_data_pyinfra_needs() -> None:
    fleet = eight()
    groups = fleet.groups()
    assert set(groups) == {"base", "nginx", "uwsgi", "mongodb", *SITES}
    assert [host for host, _ in groups["podcast"]] == ["@droplet/podcast"]
    assert len(groups["base"]) == 8
    assert [host for host, _ in groups["mongodb"]] == ["@droplet/mongo"]
    data = groups["podcast"][0][1]
    assert data["fleet"] is fleet and data["droplet"].name == "podcast"
    assert (data["ssh_user"], data["ssh_key"]) == ("root", "id")
    assert data["ssh_known_hosts_file"] == "inventory/prod.known_hosts"
    assert data["ssh_strict_host_key_checking"] == "yes"


def test_roles_come_in_the_order_they_are_deployed() -> None:
    assert eight().roles_of("podcast") == ["base", "nginx", "uwsgi", "podcast"]
    single = eight(droplets=[Droplet("single", size="s-2vcpu-4gb", roles=[*SITES, "mongodb"])])
    names = single.roles_of("single")
    assert names[0] == "base"
    assert max(names.index(role) for role in ("nginx", "uwsgi", "mongodb")) < min(
        names.index(app) for app in SITES
    )


def test_an_app_gets_the_fleets_domain_and_the_values_of_uwsgi() -> None:
    edit("uwsgi", {"processes": 7, "memory": "100M"})
    edit("podcast", {"uwsgi": {"memory": "300M"}})
    podcast = eight(domain="example.org").roles["podcast"]
    assert isinstance(podcast, AppRole) and podcast.uwsgi
    assert (podcast.domain, podcast.aliases) == ("podcast.example.org", ("www.podcast.example.org",))
    assert (podcast.uwsgi.processes, podcast.uwsgi.memory) == (7, "300M")


@pytest.mark.parametrize("kind", ["base", "nginx", "uwsgi", "mongodb"])
def test_the_role_files_show_all_defaults_as_they_are(kind: str) -> None:
    file = read_yaml(PROJECT / "roles" / f"{kind}.yml", [])
    assert file
    shown = KINDS[kind].model_validate({**file.data, "name": kind})
    assert shown == KINDS[kind].model_validate({"kind": kind, "name": kind})
    assert set(file.data) | {"name", "on", "needs"} >= set(KINDS[kind].model_fields)


def test_the_podcasts_file_shows_all_an_app_can_say() -> None:
    file = read_yaml(PROJECT / "roles/podcast.yml", [])
    assert file
    assert set(file.data["app"]) == set(Application.model_fields)
    assert set(file.data) | {"name", "files"} == set(AppRole.model_fields)


# Files of four lines that are right; each case adds to one, or has its own.
FILES = "kind: app\non: [nginx]\ndomain: a.example.com\nfiles: {directory: /srv/a}\n"
CODE = "kind: app\non: [nginx, uwsgi]\ndomain: a.example.com\napp:\n  module: a\n"


@pytest.mark.parametrize(
    ("role", "text", "line", "said"),
    [
        ("podcast", FILES + "domian: x\n", 5, "domian: there is no such key here"),
        ("podcast", FILES + "name: x\n", 5, "take the key name out"),
        ("podcast", FILES + "needs:\n - mongodb\n - redis\n", 7, "needs redis, but no droplet"),
        ("podcast", FILES + "kind: app\n", 5, "kind is there twice"),
        ("podcast", FILES + "nginx:\n  cache:\n    paths: []\n", 7, "nginx.cache.paths"),
        ("podcast", FILES.replace("a.example", "courses.example"), 3, "is taken at roles/courses.yml"),
        ("podcast", FILES.replace("a.example.com", "a b"), 3, "domain"),
        ("podcast", FILES.replace("/srv/a", "/srv/../a"), 4, "files.directory"),
        ("podcast", FILES.replace("[nginx]", "[nginx, cache]"), 2, "there is no role cache"),
        ("podcast", FILES.replace("on: [nginx]\n", ""), 1, "a site needs nginx"),
        ("podcast", CODE + "  keep: many\n", 6, "app.keep"),
        ("podcast", CODE, 4, "app.repository: is missing"),
        ("podcast", CODE + "  repository: ../podcast\n", 6, "app.repository"),
        ("podcast", "kind: [\n", 2, "not YAML"),
        ("podcast", "kind: site\n", 1, "kind should be one of"),
        ("podcast", "- kind\n", 1, "should be a mapping"),
        ("podcast", "kind: nginx\n", 1, "a role of kind nginx is called nginx"),
        ("mongodb", "kind: mongodb\nport: 70000\n", 2, "port"),
        ("mongodb", "kind: mongodb\nmembers: 2\n", 2, "members: input should be 1 or 3"),
        ("mongodb", "kind: mongodb\nelection_seconds: 0\n", 2, "election_seconds"),
        ("mongodb", "kind: mongodb\nport: 22\n", 2, "port 22 is taken on the same droplet by sshd"),
        ("mongodb", 'kind: mongodb\nversion: "8.0\\n"\n', 2, "version"),
        ("mongodb", "kind: mongodb\nversion: 8.0\n", 2, "version"),
        ("mongodb", "kind: mongodb\nneeds: [podcast]\n", 2, "circle: mongodb → podcast → mongodb"),
        ("base", "kind: base\nusers:\n - {name: ada}\n - {name: Bob}\n", 4, "users.1.name"),
        ("base", "kind: base\nswap: big\n", 2, "swap: 'big' is not"),
        (
            "nginx",
            "kind: nginx\nworker_processes: many\n",
            2,
            "worker_processes: input should be 'auto', it is 'many'",
        ),
        (
            "podcast",
            FILES + "nginx:\n  static:\n    /static: x\n",
            7,
            "nginx.static./static: '/static' is not",
        ),
    ],
)
def test_a_mistake_in_a_role_file_is_said_with_its_line(role: str, text: str, line: int, said: str) -> None:
    Path(f"roles/{role}.yml").write_text(text)
    lines = [found for found in problems(eight()).splitlines() if said in found]
    assert any(f"roles/{role}.yml:{line}: " in found for found in lines), lines


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vpc": "10.116.0.1/24"}, "is not an IPv4 range"),
        ({"vpc": "8.8.0.0/24"}, "private range"),
        ({"vpc": "10.0.0.0/29"}, "private range"),
        ({"image": "fedora-40-x64"}, "image 'fedora-40-x64' is none that"),
        ({"domain": "example"}, "is not a domain name"),
        ({"name": "Prod 1"}, "name 'Prod 1'"),
        ({"ssh_keys": ["id"]}, "should be a public key"),
        ({"firewall": Firewall(ssh_from=["anywhere"])}, "ssh_from 'anywhere'"),
        ({"droplets": []}, "at least one droplet"),
        ({"droplets": [Droplet("a", size="large", roles=["mongodb"])]}, "size 'large'"),
        ({"droplets": [Droplet("a_b", size="s-1vcpu-1gb", roles=["mongodb"])]}, "droplet 'a_b'"),
        ({"droplets": [Droplet("a", size="s-1vcpu-1gb", roles=["redis"])]}, "there is no role redis"),
        (
            {"droplets": [Droplet(name, size="1gb", roles=["mongodb"]) for name in "ab"]},
            "a and b have the role mongodb, but it has members: 1",
        ),
        (
            {"droplets": [Droplet("a", size="s-1vcpu-1gb", roles=["podcast"])]},
            "needs mongodb, but no droplet",
        ),
        ({"overrides": {"nosuch": {}}}, "overrides name the role 'nosuch'"),
        ({"overrides": {"nginx": {"tls": {"email": "nobody"}}}}, "tls.email"),
    ],
)
def test_a_mistake_in_the_inventory_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in problems(eight(**changes))


def test_all_mistakes_are_said_at_once_with_the_inventorys_line() -> None:
    Path("inventory").mkdir()
    Path("inventory/prod.py").write_text(
        "from smallfleet import Droplet, Fleet\n"
        "fleet = Fleet(name='p', vpc='10.0.0.0/24', domain='example.com', ssh_keys=['id.pub'], droplets=[\n"
        "    Droplet('web', size='s-1vcpu-1gb', roles=['podcast']),\n"
        "    Droplet('web', size='s-1vcpu-1gb', roles=['mongodb', 'nosuch']),\n"
        "])\n"
        "fleet.groups()\n"
    )
    edit("podcast", {"colour": "red"})
    with pytest.raises(FleetError) as caught:
        load_inventory(Path("inventory/prod.py"))
    said = str(caught.value)
    assert "inventory/prod.py:4: droplet 'web' is there twice, first at inventory/prod.py:3" in said
    assert "inventory/prod.py:4: there is no role nosuch" in said
    assert "colour: there is no such key here" in said
    assert "3 mistakes" in said


def test_wrong_words_in_the_inventory_name_the_line() -> None:
    with pytest.raises(FleetError, match=r"test_model\.py:\d+: Droplet\(sise\)"):
        Droplet("a", sise="s-1vcpu-1gb", roles=[])
    with pytest.raises(FleetError, match=r"test_model\.py:\d+: Fleet\(vpc\): Field required"):
        Fleet(name="prod", domain="example.com", ssh_keys=["id.pub"], droplets=[])


PYINFRA = Path(sys.executable).parent / "pyinfra"


def test_pyinfra_is_stopped_before_it_connects_when_keys_or_secrets_are_missing() -> None:
    Path("inventory").mkdir()
    said = (
        "from smallfleet import Droplet, Fleet\n"
        "fleet = Fleet(name='p', vpc='10.0.0.0/24', domain='example.com', ssh_keys=['KEY'],\n"
        "    droplets=[Droplet('mongo', size='s-1vcpu-1gb', roles=['mongodb'])])\n"
        "globals().update(fleet.groups())\n"
    )
    Path("inventory/prod.py").write_text(said.replace("KEY", "gone.pub"))
    assert load_inventory(Path("inventory/prod.py")).roles, (
        "fleet secrets can read it, to make what is missing"
    )

    def run() -> str:
        words = [str(PYINFRA), "inventory/prod.py", "--dry", "exec", "--", "true"]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode != 0
        return done.stdout + done.stderr

    assert "gone.pub does not exist. Make it: ssh-keygen -t ed25519 -f gone" in run()
    Path("inventory/prod.py").write_text(said.replace("KEY", "id.pub"))
    assert "mongodb/keyfile" in (output := run()) and "fleet secrets generate inventory/prod.py" in output


def test_clashes_on_one_droplet() -> None:
    edit("podcast", {"uwsgi": {"port": 9000}})
    edit("courses", {"uwsgi": {"port": 9000}, "mongodb": {"database": "podcast"}})
    eight_problems = problems(eight())
    assert "port 9000" not in eight_problems and "the database podcast is taken at" in eight_problems
    single = eight(droplets=[Droplet("single", size="s-2vcpu-4gb", roles=[*SITES, "mongodb"])])
    assert "the port 9000 is taken on the same droplet by roles/" in problems(single)


def test_an_app_may_live_on_several_droplets_and_a_database_on_as_many_as_it_has_members() -> None:
    fleet = eight()
    fleet.droplets.append(Droplet("second", size="s-1vcpu-1gb", roles=["podcast"]))
    assert [droplet.name for droplet in fleet.droplets_of("podcast")] == ["podcast", "second"]
    fleet = eight()
    fleet.droplets.append(Droplet("second", size="s-1vcpu-1gb", roles=["mongodb"]))
    said = problems(fleet)
    assert "mongo and second have the role mongodb, but it has members: 1" in said
    assert fleet.droplets[-1].where in said and "say members: 3 in roles/mongodb.yml" in said

    edit("mongodb", {"members": 3})
    line = read_yaml(Path("roles/mongodb.yml"), []).at(("members",))  # type: ignore[union-attr]
    said = problems(fleet)
    assert f"{line}: members: 3, but only mongo and second have the role mongodb: give it to 1 more" in said
    fleet.droplets.append(Droplet("third", size="s-1vcpu-1gb", roles=["mongodb"]))
    assert [droplet.name for droplet in fleet.droplets_of("mongodb")] == ["mongo", "second", "third"]
    fleet = eight()
    assert "only mongo has the role mongodb: give it to 2 more" in problems(fleet)


def test_a_role_file_that_another_tool_wrote_is_read() -> None:
    """PyYAML reads `on:` as true, and writes it so."""
    path = Path("roles/podcast.yml")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text())))
    assert "true:" in path.read_text()
    assert eight().roles_of("podcast") == ["base", "nginx", "uwsgi", "podcast"]


def test_roles_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        eight().roles["podcast"].domain = "x.example.com"  # type: ignore[attr-defined]


def test_sizes() -> None:
    good = "s-1vcpu-1gb s-1vcpu-512mb-10gb g-2vcpu-8gb c-2 s-2vcpu-4gb-amd so1_5-2vcpu-16gb 1gb"
    assert all(SIZE.fullmatch(size) for size in good.split())
    assert not any(SIZE.fullmatch(size) for size in ("big", "s-1vcpu", "S-1vcpu-1gb", "s-1vcpu-1gb ", ""))


def test_order_and_circles() -> None:
    assert order({"a": ["b"], "b": ["c"], "c": [], "base": []}) == ["base", "c", "b", "a"]
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []
    assert circles({"a": ["b"], "b": ["a"], "c": ["c"]}) == [["a", "b", "a"], ["c", "c"]]


class _Host(SimpleNamespace):
    """What a context asks of a pyinfra host."""


def _context(fleet: Fleet, name: str, **data: Any) -> Context:
    return Context.of(_Host(name=name, data={"fleet": fleet, "droplet": fleet.droplet(name), **data}))


def test_the_context_of_a_droplet() -> None:
    addresses = {
        "podcast": {"public": "192.0.2.1", "private": "10.116.0.2"},
        "mongo": {"public": "192.0.2.2", "private": "10.116.0.3"},
    }
    context = _context(eight(), "podcast", addresses=addresses)
    assert context.roles == ["base", "nginx", "uwsgi", "podcast"]
    assert context.has("app") and context.has("nginx") and not context.has("mongodb")
    assert [app.name for app in context.apps] == ["podcast"]
    assert isinstance(context.role("nginx"), NginxRole)
    assert (context.public_address, context.private_address) == ("192.0.2.1", "10.116.0.2")
    assert context.private_addresses_of("mongodb") == ["10.116.0.3"]
    with pytest.raises(FleetError, match="courses has no addresses"):
        context.private_addresses_of("courses")
    with pytest.raises(FleetError, match="has no role nosuch"):
        context.role("nosuch")


def test_the_connector_is_asked_for_addresses_when_the_data_has_none() -> None:
    fleet = eight()
    connector = SimpleNamespace(addresses=lambda: {"mongo": {"public": "192.0.2.9", "private": "10.116.0.9"}})
    host = _Host(name="mongo", data={"fleet": fleet, "droplet": fleet.droplet("mongo")}, connector=connector)
    assert Context.of(host).private_address == "10.116.0.9"


def test_a_host_of_no_fleet_has_no_context() -> None:
    with pytest.raises(FleetError, match="is no droplet of a fleet"):
        Context.of(_Host(name="web1", data={}))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> descriptor.Lab:
    """A lab's descriptor and keys, as `fleet lab up` writes them."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    monkeypatch.setattr(descriptor, "LABS", tmp_path / "labs")
    made = descriptor.describe("t1", index=7, port=18080, token="lab-token-in-clear")
    made.path.mkdir(parents=True)
    made.save()
    key = Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    Path(made.ssh_key).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    Path(f"{made.ssh_key}.pub").write_bytes(public)
    return made


def test_the_same_fleet_in_the_lab(lab: descriptor.Lab) -> None:
    real = eight(ssh_keys=["not-here.pub"], overrides={"nginx": {"worker_connections": 99}})
    fleet = real.in_lab("t1")
    assert fleet.lab_name == "t1" and real.lab_name is None
    assert fleet.end_point == "http://127.0.0.1:18080/v2/"
    assert fleet.token().reveal() == "lab-token-in-clear"
    nginx, mongodb, podcast = (fleet.roles[name] for name in ("nginx", "mongodb", "podcast"))
    assert isinstance(nginx, NginxRole) and isinstance(mongodb, MongodbRole) and isinstance(podcast, AppRole)
    assert (nginx.tls.directory, nginx.worker_connections) == ("https://198.18.7.1:14000/dir", 99)
    assert (mongodb.archive.url, mongodb.archive.key) == (lab.mongodb_archive, lab.mongodb_key)
    assert (mongodb.version, mongodb.archive.packages) == ("6.0", ("mongodb-org-server",))
    assert podcast.app and podcast.app.repository == "git://198.18.7.1/podcast.git"
    assert fleet.groups()["podcast"][0][1]["ssh_key"] == lab.ssh_key
    fleet.check_secrets()
    made = fleet.open_secrets()["mongodb/admin"]
    assert real.in_lab("t1").open_secrets()["mongodb/admin"] == made, (
        "a second time keeps what the first made"
    )
    assert real.overrides == {"nginx": {"worker_connections": 99}}
    for shown in (repr(fleet), str(fleet), json.dumps(fleet.model_dump(mode="json"))):
        assert "lab-token-in-clear" not in shown


def test_no_lab_is_one_sentence(lab: descriptor.Lab) -> None:
    with pytest.raises(FleetError, match="fleet lab up --name t2"):
        eight().in_lab("t2")
