"""A plan's pure parts: the overlay, its formats, its schema, and what it touches."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import StringCommand
from pyinfra.facts.files import Directory, File, FindInFile, Sha1File
from pyinfra.facts.systemd import SystemdStatus
from pyinfra.operations import files, systemd
from pyinfra.operations.util import any_changed
from rich.console import Console

from smallfleet.facts.files import FileState
from smallfleet.facts.system import Container
from smallfleet.model.fleet import Fleet
from smallfleet.operations.called import called
from smallfleet.operations.guarded import RESTART_SSHD
from smallfleet.plan import again, markdown, model, tree
from smallfleet.plan.answers import answer
from smallfleet.plan.blast import blast_radius
from smallfleet.plan.dry import consulted, followed
from smallfleet.plan.effects import Change, find_out
from smallfleet.plan.overlay import Node, Overlay
from smallfleet.plan.pristine import Pristine, worth_recording
from smallfleet.plan.redact import Redactor

SCHEMA = Path(__file__).parents[2] / "docs/plan.schema.json"


def ask(fact: type, overlay: Overlay, now: Any = None, **arguments: Any) -> Any:
    return answer(fact, overlay, arguments, lambda: now, lambda *_, **__: now)


def changed(operation: Any, overlay: Overlay, commands: list[Any], **arguments: Any) -> Change:
    change = Change(arguments, commands, overlay, lambda fact, **kwargs: ask(fact, overlay, **kwargs))
    find_out(operation._inner, change)
    return change


def plan_of(**values: Any) -> model.Plan:
    diff = model.Diff(
        path="/etc/nginx/nginx.conf", action="change", text="--- a\n+++ b\n@@ -1 +1 @@\n-old\n+```new"
    )
    operation = model.Operation(
        name="deploys/nginx.py | NGINX: a vhost",
        diffs=[diff],
        effects=[model.Effect(action="reload", target="nginx.service")],
    )
    droplet = model.Droplet(name="web", roles=["podcast"], exists=True, operations=[operation])
    filled: dict[str, Any] = {
        "made": "2026-01-31T12:00:00Z",
        "fleet": "prod",
        "inventory": "inventory/prod.py",
        "deploy": "deploys/site.py",
        "limit": [],
        "summary": model.Summary(droplets=1, operations=1, cloud=0, errors=0),
        "cloud": model.Cloud(),
        "droplets": [droplet],
        "blast_radius": model.BlastRadius(),
        "errors": [],
    }
    return model.Plan(**(filled | values))


def test_facts_know_a_file_that_will_be_there() -> None:
    overlay = Overlay()
    overlay.put("/srv/app/a.conf", Node("file", b"one\ntwo\n", mode=640))
    assert ask(File, overlay, path="/srv/app/a.conf")["mode"] == 640
    assert ask(Directory, overlay, path="/srv/app/a.conf") is False
    assert ask(Directory, overlay, path="/srv/app")["mode"] == 755
    assert ask(Directory, overlay, {"mode": 700}, path="/srv/app") == {"mode": 700}
    assert ask(FindInFile, overlay, path="/srv/app/a.conf", pattern="^tw.$") == ["two"]
    assert ask(Sha1File, overlay, path="/srv/app/a.conf") == hashlib.sha1(b"one\ntwo\n").hexdigest()
    assert ask(FileState, overlay, path="/srv/app/a.conf")["mode"] == "640"
    overlay.put("/srv/app/a.conf", Node("absent"))
    assert ask(File, overlay, {"mode": 640}, path="/srv/app/a.conf") is None


def test_a_service_that_will_run_runs_for_what_comes_after() -> None:
    overlay = Overlay()
    change = changed(
        systemd.service,
        overlay,
        [StringCommand("systemctl", "start", "nginx.service")],
        service="nginx.service",
    )
    assert change.effects == [("start", "nginx.service")]
    assert ask(SystemdStatus, overlay, {"nginx.service": False}, services=["nginx.service"]) == {
        "nginx.service": True
    }
    assert ask(SystemdStatus, overlay, {}, services=["ssh.service"]) == {}


@pytest.mark.parametrize(
    ("command", "effects"),
    [
        (f"sshd -t && {RESTART_SSHD}", [("restart", "ssh.service")]),
        ("nft -c -f x && systemctl try-reload-or-restart a.service", [("reload", "a.service")]),
        ("systemctl --no-block restart mongod", [("restart", "mongod.service")]),
        ("systemctl daemon-reload", []),
        ("if ! systemctl reload-or-restart nginx; then exit 1; fi", [("reload", "nginx.service")]),
    ],
)
def test_what_restarts_is_read_from_the_commands(command: str, effects: list[tuple[str, str]]) -> None:
    assert changed(files.flags, Overlay(), [StringCommand(command)]).effects == effects


def test_an_operation_is_followed_past_its_first_command() -> None:
    def two() -> Any:
        yield "one"
        yield "two"

    def refused_later() -> Any:
        yield "one"
        raise RuntimeError("the first one has not run")

    def refused() -> Any:
        raise RuntimeError("no")
        yield

    assert followed(two) == ["one", "two"]
    assert followed(refused_later) == ["one"]
    with pytest.raises(RuntimeError):
        followed(refused)


def test_the_function_of_an_operation_is_found_in_pyinfras_generator() -> None:
    def func(path: str, mode: int = 644) -> None: ...

    args, kwargs = (), {"path": "/a"}

    def command_generator() -> Any:
        return func(*args, **kwargs)

    assert called(command_generator) == (func, {"path": "/a", "mode": 644})


def test_the_causes_of_a_conditional_operation() -> None:
    from pyinfra.api.operation import OperationMeta

    one, two = OperationMeta("1", None), OperationMeta("2", None)
    changed = any_changed(one, two)
    assert consulted(one.did_change) == [one]
    assert consulted([lambda: changed() or True]) == [one, two]


def test_secrets_are_taken_out_in_every_form() -> None:
    redactor = Redactor(["p%ss/word+", "x"])
    for form in ("p%ss/word+", "p%25ss%2Fword%2B", "cCVzcy93b3JkKw"):
        assert redactor.holds(f"a {form} b")
        assert redactor.clean(f"a {form} b") == "a (secret) b"
    assert not redactor.holds("x marks no secret")


def test_a_pristine_droplet_has_its_own_addresses_and_no_app() -> None:
    fleet = type("F", (), {"image": "debian-12-x64", "lab_name": None})
    droplet = Pristine.of(fleet)
    addresses = {"public": "0.0.0.0", "private": "10.1.0.9"}
    assert "10.1.0.9" in droplet.answer("ip -j addr show 2> /dev/null", addresses)[0]
    assert Container().process(droplet.answer(Container().command(), addresses)) is None
    assert droplet.answer("command -v useradd || true", addresses) == ["/usr/sbin/useradd"]
    assert droplet.answer("stat /srv/podcast", addresses) == []
    assert worth_recording("cat /x", ["__pyinfra_missing_/x"]) == []
    assert worth_recording("stat /x", ["mtime=12 size=1"]) == ["mtime=0 size=1"]


def test_the_schema_in_the_docs_is_the_models() -> None:
    assert json.loads(SCHEMA.read_text()) == model.Plan.model_json_schema()


def test_a_plan_survives_being_saved(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan_of().model_dump_json())
    assert again.load(tmp_path / "plan.json") == plan_of()


def test_what_moved_since_a_plan_was_saved() -> None:
    other = plan_of(droplets=[plan_of().droplets[0].model_copy(update={"operations": []})])
    assert list(again.moved(plan_of(), plan_of(made="later"))) == []
    assert list(again.moved(plan_of(), other)) == ["web: no longer to do: deploys/nginx.py | NGINX: a vhost"]
    assert list(again.moved(other, plan_of())) == ["web: new: deploys/nginx.py | NGINX: a vhost"]


def test_markdown_is_cut_between_diffs_at_githubs_limit() -> None:
    whole = markdown.render(plan_of())
    assert "````diff" in whole, "a fence that the diff cannot end"
    droplet = plan_of().droplets[0]
    many = droplet.model_copy(update={"operations": droplet.operations * 2000})
    cut = markdown.render(plan_of(droplets=[many]))
    assert len(cut) <= 65536 and "Cut here" in cut
    assert cut.count("<details>") == cut.count("</details>")


def test_the_tree_has_the_diff_and_what_reloads() -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(tree.render(plan_of()))
    said = console.export_text()
    assert "+```new" in said and "→ reloads nginx.service" in said and "podcast deploys/nginx.py" in said


@pytest.mark.parametrize(
    ("action", "unit", "downtime"),
    [
        ("reload", "nginx.service", {"podcast": "a reload"}),
        ("restart", "nginx.service", {"podcast": "seconds"}),
        ("release", "podcast", {"podcast": "none"}),
    ],
)
def test_the_downtime_of_sites(action: str, unit: str, downtime: dict[str, str]) -> None:
    app = type("App", (), {"name": "podcast", "domain": "podcast.example.com", "aliases": [], "app": None})
    home = type("Home", (), {"name": "web"})
    said = {"droplets_of": staticmethod(lambda name: [home]), "fronted_by": staticmethod(lambda name: [])}
    fleet: Fleet = type("F", (), {"apps": [app], **said})  # type: ignore[assignment]
    operation = model.Operation(name="x", effects=[model.Effect(action=action, target=unit)])
    droplet = model.Droplet(name="web", roles=[], exists=True, operations=[operation])
    radius = blast_radius(fleet, [droplet], model.Cloud())
    assert {site.name: site.downtime for site in radius.sites} == downtime
