"""Plans of a real fleet: what they predict is what the next run does, and what they must not show or do."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
import requests
import yaml

from tests.lab.conftest import BIN, PROJECT, Workplace, eventually, finished, workplace
from tests.lab.edits import FLEET, INVENTORY, ROUNDS, Edit, done, make, predicted, role, secret, table

SITE = "deploys/site.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with workplace(tmp_path_factory.mktemp("edits")) as place:
        place.write_inventory("edits", FLEET)
        place.deploy(INVENTORY, SITE)
        yield place


def check_round(place: Workplace, edits: list[Edit]) -> list[tuple[str, int, int]]:
    make(place, edits)
    before = predicted(place, INVENTORY)
    after = done(place, INVENTORY)
    assert before - after == set(), "predicted, but not done"
    assert after - before == set(), "done, but not predicted"
    for edit in edits:
        assert edit.own(before), f"{edit.title}: nothing was predicted"
    of_nobody = before - {change for edit in edits for change in edit.own(before)}
    assert not of_nobody, "predicted and done, but for none of the edits"
    return [(edit.title, len(edit.own(before)), len(edit.own(after))) for edit in edits]


def test_a_plan_predicts_what_the_next_run_does(place: Workplace) -> None:
    rows = [row for edits in ROUNDS for row in check_round(place, edits)]
    assert len(rows) >= 30
    print("\n" + table(rows))
    if path := os.environ.get("SMALLFLEET_EDITS_TABLE"):
        Path(path).write_text(table(rows))


# The tests below have the fleet that the edits leave: nothing is to be done.


def test_exit_codes(place: Workplace) -> None:
    assert place.run("fleet", "plan", INVENTORY, SITE, "--exit-code").returncode == 0
    place.ssh("web1", "chmod 600 /etc/uv/uv.toml")
    limited = ("--limit", "web1")
    assert place.run("fleet", "plan", INVENTORY, SITE, "--exit-code", *limited, check=False).returncode == 2
    assert place.run("fleet", "plan", INVENTORY, SITE, *limited).returncode == 0
    wrong = place.run("fleet", "plan", "inventory/none.py", SITE, check=False)
    assert (
        wrong.returncode == 1 and "there is no inventory" in wrong.stderr and "Traceback" not in wrong.stderr
    )
    place.ssh("web1", "chmod 644 /etc/uv/uv.toml")


def test_apply_runs_a_plan_only_while_it_holds(place: Workplace) -> None:
    role("podcast", nginx__rate__burst=78)(place)
    saved = place.directory / "saved.json"
    save = ("fleet", "plan", INVENTORY, "deploys/nginx.py", "--limit", "web1", "--format", "json")
    place.run(*save, "--out", str(saved))
    assert saved.stat().st_mode & 0o777 == 0o600

    place.ssh("web1", "echo '# mine' >> /etc/nginx/sites/podcast.conf")
    refused = place.run("fleet", "apply", str(saved), check=False)
    assert refused.returncode == 1
    assert "web1: different now: NGINX: nginx.conf and a vhost" in refused.stderr, refused.stderr
    assert "burst=78" not in place.ssh("web1", "cat /etc/nginx/sites/podcast.conf")

    place.ssh("web1", "sed -i '$d' /etc/nginx/sites/podcast.conf")
    applied = place.run("fleet", "apply", str(saved))
    assert applied.returncode == 0
    assert "burst=78" in place.ssh("web1", "cat /etc/nginx/sites/podcast.conf")

    again = place.run("fleet", "apply", str(saved), check=False)
    assert again.returncode == 1 and "no longer to do" in again.stderr


def power(place: Workplace, droplet: str, action: str) -> None:
    lab = json.loads(Path(f"/var/lib/smallfleet/labs/{place.lab}/lab.json").read_text())
    headers = {"Authorization": f"Bearer {lab['token']}"}
    with requests.Session() as session:
        session.trust_env = False
        found = session.get(f"{lab['api']}droplets", headers=headers, timeout=30).json()["droplets"]
        id = next(one["id"] for one in found if one["name"] == droplet)
        url = f"{lab['api']}droplets/{id}"
        session.post(f"{url}/actions", headers=headers, json={"type": action}, timeout=30).raise_for_status()
        wanted = "off" if action == "power_off" else "active"
        eventually(
            lambda: session.get(url, headers=headers, timeout=30).json()["droplet"]["status"] == wanted,
            f"{droplet} is {wanted}",
        )


def test_a_droplet_that_cannot_be_reached_hides_no_other(place: Workplace) -> None:
    place.ssh("web1", "chmod 600 /etc/uv/uv.toml")
    power(place, "mongo", "power_off")
    try:
        made = place.run("fleet", "plan", INVENTORY, SITE, "--format", "json", "--exit-code", check=False)
    finally:
        power(place, "mongo", "power_on")
    assert made.returncode == 1
    plan = json.loads(made.stdout)
    assert [error["droplet"] for error in plan["errors"]] == ["mongo"] and plan["errors"][0]["reason"]
    changes = {droplet["name"]: len(droplet["operations"]) for droplet in plan["droplets"]}
    assert "mongo" not in changes and changes.pop("web1") == 1 and not any(changes.values())
    place.ssh("web1", "chmod 644 /etc/uv/uv.toml")
    answers = "systemctl is-active mongod"
    eventually(lambda: place.ssh("mongo", answers, check=False).strip() == "active", "mongo is back")


CANARIES = {
    "podcast/session_secret": "canary%session/9f1c+feather",
    "mongodb/podcast": "canary:mongo/41b7@feather",
    "mongodb/admin": "canary&admin/c33d=feather",
}


def shown_forms(secret: str) -> list[str]:
    """A secret as it could slip through: as it is, quoted, in base64 (whatever stands before it)."""
    shifted = [base64.b64encode(b"x" * n + secret.encode()).decode()[4:-4] for n in range(3)]
    return [secret, quote(secret), quote(secret, safe=""), *shifted, "feather"]


def test_no_secret_is_shown_in_any_format_at_any_verbosity(place: Workplace, tmp_path: Path) -> None:
    for name, text in CANARIES.items():
        secret(INVENTORY, name, text)(place)
    said: dict[str, str] = {}
    for format in ("tree", "json", "markdown"):
        made = place.run("fleet", "plan", INVENTORY, SITE, "--format", format)
        said[format] = made.stdout + made.stderr
        if format == "json":
            plan = json.loads(made.stdout)
            (tmp_path / "plan.json").write_text(made.stdout)
            said["shown"] = place.run("fleet", "show", str(tmp_path / "plan.json")).stdout
    for verbosity in ("-v", "-vvv"):
        shown = place.run("pyinfra", INVENTORY, SITE, "--dry", "--diff", verbosity)
        said[f"pyinfra {verbosity}"] = shown.stdout + shown.stderr
    for format, text in said.items():
        assert "its environment" in text and "Make MongoDB's users" in text, format
        for secret_text in CANARIES.values():
            leaked = [form for form in shown_forms(secret_text) if form in text]
            assert not leaked, f"{format} shows {leaked}"
    hidden = {
        diff["path"]
        for droplet in plan["droplets"]
        for operation in droplet["operations"]
        for diff in operation["diffs"]
        if diff["hidden"]
    }
    assert hidden == {"/etc/smallfleet/apps/podcast.env", "/etc/smallfleet/mongodb/users.json"}
    assert done(place, INVENTORY) == {
        (droplet["name"], operation["name"])
        for droplet in plan["droplets"]
        for operation in droplet["operations"]
    }


def test_what_a_new_droplet_answers_is_what_is_recorded(place: Workplace, tmp_path: Path) -> None:
    """A droplet is created and not deployed to; what it answers is the record that plans are made on."""
    inventory = place.write_inventory("fresh", {"fresh": ["podcast", "mongodb"]})
    path = place.directory / inventory
    apart = path.read_text().replace("10.118.0.0/24", "10.119.0.0/24").replace("example.com", "example.net")
    # With the roles as they are in the project: the edits before may have left others.
    shutil.copytree(PROJECT / "roles", place.directory / "roles.fresh", dirs_exist_ok=True)
    path.write_text(apart.replace("region=", 'roles_directory="roles.fresh",\n    region='))
    place.run("pyinfra", inventory, "-y", "exec", "--", "true")
    try:
        out = tmp_path / "debian-12.json"
        place.run("python", "-m", "smallfleet.plan.pristine", inventory, "fresh", str(out))
    finally:
        subprocess.run(
            [str(BIN / "fleet"), "destroy", inventory],
            cwd=place.directory,
            env={**os.environ, "SMALLFLEET_LAB": place.lab},
            input="fresh\n",
            text=True,
            check=True,
            capture_output=True,
        )
    now = json.loads(out.read_text())["answers"]
    recorded = json.loads((PROJECT / "smallfleet/plan/pristine/debian-12.json").read_text())["answers"]
    # Versions of packages go on; which packages, users, groups and files there are does not.
    version = re.compile(r"(?<=\S)\s+\S*\d\S*(?=\s+(amd64|arm64|all)\b).*|size=\d+")
    plain = [
        {command: [version.sub("", line) for line in lines] for command, lines in answers.items()}
        for answers in (recorded, now)
    ]
    missing = {command for command in now if command not in recorded}
    assert not missing, f"record anew: python -m smallfleet.plan.pristine ({missing})"
    assert {command: plain[0][command] for command in now} == plain[1]


class GitHub(BaseHTTPRequestHandler):
    """Comments and issues, as far as the workflows' scripts go."""

    made: ClassVar[dict[str, list[dict[str, Any]]]] = {"comments": [], "issues": []}

    def _answer(self, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> dict[str, Any]:
        assert self.headers["Authorization"] == "Bearer a-token"
        return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    @property
    def _kind(self) -> str:
        return "comments" if "comments" in self.path else "issues"

    def do_GET(self) -> None:
        self._answer([one for one in self.made[self._kind] if one.get("state", "open") == "open"])

    def do_POST(self) -> None:
        made = self.made[self._kind]
        made.append({**self._body(), "id": len(made) + 1, "number": len(made) + 1})
        self._answer(made[-1])

    def do_PATCH(self) -> None:
        one = self.made[self._kind][int(self.path.rsplit("/", 1)[1]) - 1]
        one.update(self._body())
        self._answer(one)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def github() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), GitHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def run_workflow(place: Workplace, workflow: str, api: str, home: Path, **values: str) -> dict[str, int]:
    """Run the steps of a workflow's jobs as GitHub would, but `setup`; {step: exit status}."""
    said = yaml.safe_load((PROJECT / f".github/workflows/{workflow}.yml").read_text())
    shutil.copytree(PROJECT / ".github", place.directory / ".github", dirs_exist_ok=True)
    lab = json.loads(Path(f"/var/lib/smallfleet/labs/{place.lab}/lab.json").read_text())
    output = home / "output"
    output.write_text("")
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(home),
        "SMALLFLEET_LAB": place.lab,
        "GITHUB_API_URL": api,
        "GITHUB_REPOSITORY": "owner/fleet",
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(home / "summary"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    statuses: dict[str, int] = {}
    for job in said["jobs"].values():
        if "changes == 'true'" in job.get("if", "") and "changes=true" not in output.read_text():
            continue
        for step in job["steps"]:
            if "run" not in step or step["run"] == ".github/scripts/setup":
                continue
            given = {
                "FLEET_SSH_KEY": Path(lab["ssh_key"]).read_text().strip(),
                "GITHUB_TOKEN": "a-token",
                "PULL_REQUEST": "7",
                "CHANGES": "true" if "changes=true" in output.read_text() else "false",
            }
            assert set(step.get("env", {})) <= set(given)
            own = {"INVENTORY": INVENTORY, **{key: given[key] for key in step.get("env", {})}}
            command = ["bash", "-e", "-c", step["run"]]
            ran = finished(command, step["run"], cwd=place.directory, env={**environment, **own})
            statuses[step["run"]] = ran.returncode
            assert ran.returncode == 0, (step["run"], ran.stdout[-3000:], ran.stderr[-3000:])
    return statuses


def test_the_workflows_comment_report_and_deploy(place: Workplace, github: str, tmp_path: Path) -> None:
    made = GitHub.made
    role("podcast", nginx__rate__burst=79)(place)
    run_workflow(place, "plan", github, tmp_path)
    run_workflow(place, "plan", github, tmp_path)
    assert len(made["comments"]) == 1, "a later plan takes the earlier one's place"
    assert "burst=79" in made["comments"][0]["body"] and "| web1 |" in made["comments"][0]["body"]
    assert (tmp_path / ".ssh/id_ed25519").stat().st_mode & 0o777 == 0o600

    run_workflow(place, "drift", github, tmp_path)
    assert [(issue["labels"], issue.get("state")) for issue in made["issues"]] == [(["drift"], None)]

    steps = run_workflow(place, "deploy", github, tmp_path)
    assert "fleet apply plan.json" in steps
    assert "burst=79" in place.ssh("web1", "cat /etc/nginx/sites/podcast.conf")

    run_workflow(place, "drift", github, tmp_path)
    assert [issue["state"] for issue in made["issues"]] == ["closed"]
    assert "fleet apply plan.json" not in run_workflow(place, "deploy", github, tmp_path)
