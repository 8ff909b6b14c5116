"""The benchmark's own logic: fleets of any size, what is read from the tools' output, figures and picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from bench import both, both_page, compare, page, picture
from bench.differences import differences, touched, unexplained
from bench.results import Results
from bench.rooms import PROJECT, Rooms, apps_of, role_like
from bench.ways import Run, changes_in_recap, changes_in_table
from smallfleet.inventory import load_inventory


def test_more_droplets_are_more_of_the_same_apps() -> None:
    assert apps_of(2) == ["podcast"]
    assert apps_of(8) == ["podcast", "courses", "bytes", "api", "search", "video", "media"]
    assert len(set(apps_of(64))) == 63
    assert apps_of(16)[7:] == [f"{app}2" for app in apps_of(8)] + ["podcast3"]


def test_a_role_of_the_same_app_has_its_own_domain_database_and_files() -> None:
    video = yaml.safe_load(role_like((PROJECT / "roles/video.yml").read_text(), "video", "video2"))
    assert video["domain"] == "video2.{domain}"
    assert video["mongodb"] == {"database": "video2"}
    assert video["files"]["directory"] == "/srv/video2/files"
    assert video["app"]["module"] == "video:application"
    podcast = yaml.safe_load(role_like((PROJECT / "roles/podcast.yml").read_text(), "podcast", "podcast2"))
    assert podcast["aliases"] == ["www.podcast2.{domain}"]


def test_a_fleet_of_sixty_four_is_a_valid_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = Rooms(tmp_path, 64, "no-lab")
    path = tmp_path / rooms.inventory
    path.write_text(path.read_text().replace(".in_lab()", ""))
    monkeypatch.chdir(tmp_path)
    fleet = load_inventory(path)
    assert len(fleet.droplets) == 64 and len(fleet.apps) == 63  # the roles are checked as they are read
    assert fleet.roles_of("courses9")[-1] == "courses9"


TABLE = """
    Operation      Hosts   Success   Error   No Change
    NGINX: sites   2       1         -       1
    Grand total    163     {}         -       162
"""


def test_changes_are_read_from_what_pyinfra_and_ansible_print() -> None:
    assert changes_in_table(TABLE.format("-")) == 0
    assert changes_in_table(TABLE.format("3")) == 3
    with pytest.raises(SystemExit, match="has not said"):
        changes_in_table("nothing of the kind")
    recap = "podcast : ok=60 changed=2 unreachable=0\nmongo : ok=40 changed=1 unreachable=0\n"
    assert changes_in_recap(recap) == 3


def test_what_differs_needs_a_reason() -> None:
    one = {
        "/etc/machine-id": "a root root 444",
        "/etc/smallfleet/apps/podcast.env": "a root root 400",
        "/etc/mongod.conf": "a root root 644",
        "/etc/x": "same",
        "/srv/podcast/releases/20261126-141633-4fce2778/wsgi.py": "a root root 644",
    }
    other = {
        "/etc/machine-id": "b root root 444",
        "/etc/smallfleet/apps/podcast.env": "b root root 404",  # its content may differ, its mode may not
        "/etc/mongod.conf": "b root root 644",
        "/etc/x": "same",
        "/srv/podcast/releases/20261126-143357-4fce2778/wsgi.py": "a root root 644",
    }
    found = differences({"mongo": {"files": one}}, {"mongo": {"files": other}})
    assert len(found) == 3
    assert unexplained(found) == [
        "mongo: files: /etc/mongod.conf: a root root 644 | b root root 644",
        "mongo: files: /etc/smallfleet/apps/podcast.env: a root root 400 | b root root 404",
    ]


def test_of_a_droplet_that_is_done_ansible_may_ask_for_a_package_that_is_there_and_no_more() -> None:
    asked = "packages asked for"
    before = {"mongo": {asked: {}, "files": {"/var/lib/smallfleet/runs/1": "a root root 600"}}}
    after = {"mongo": {asked: {"openssl": "by hand", "nginx": "by hand"}, "files": {}}}
    assert touched(differences(before, after)) == [
        "mongo: packages asked for: nginx: None | by hand",
        "mongo: files: /var/lib/smallfleet/runs/1: a root root 600 | None",
    ]
    assert len(touched(differences(after, before))) == 3


def steps(result: str = "changed", *commands: str, said: tuple[str, ...] = ()) -> compare.Steps:
    """Of a run of two operations on one droplet."""
    one = {"operation": "NGINX runs", "result": "without change", "commands": [], "said": []}
    return {"podcast": [one, {"operation": "Release", "result": result, "commands": commands, "said": said}]}


def test_runs_that_did_not_the_same_differ() -> None:
    one = steps("changed", "mv a 20261126-141633-4fce2778", "python3 undo arm 0123456789ab --seconds 60")
    again = steps("changed", "mv a 20261126-143357-4fce2778", "python3 undo arm ba9876543210 --seconds 60")
    assert compare.differences(one, again) == []
    assert compare.differences(one, steps("changed", "mv b 20261126-141633-4fce2778")) != []
    assert compare.differences(steps("changed"), steps("without change")) == [
        "podcast: Release: changed | without change"
    ]
    assert compare.differences(steps("failed", said=("why",)), steps("failed", said=("why not",))) == [
        "podcast: Release: said - why",
        "podcast: Release: said + why not",
    ]
    # What was said by an operation that did not fail is apt's and pip's, with times in it.
    assert compare.differences(steps(said=("in 1 s",)), steps(said=("in 2 s",))) == []
    less = {"podcast": steps()["podcast"][:1]}
    assert compare.differences(steps(), less) == ["podcast: other operations: - Release"]
    assert compare.differences(steps(), {}) == ["podcast: in one run alone"]


def test_a_difference_in_what_is_printed_or_the_status_counts_too() -> None:
    plain = both.Ran(0, steps(), both.lines("--> Results:\n    [podcast] \x1b[32mSuccess\x1b[0m\n"))
    assert both.differences(plain, both.Ran(0, steps(), ["    [podcast] Success", "--> Results:"])) == []
    assert both.differences(plain, both.Ran(1, steps(), plain.printed)) == ["status 0 | 1"]
    assert both.differences(plain, both.Ran(0, steps(), ["--> Results:"])) == [
        "printed -     [podcast] Success"
    ]


def test_a_run_that_did_not_go_its_way_is_known() -> None:
    fast = {"asked": 60, "trips": 2, "plain": 3, "changes": 3}
    none = {"asked": 0, "trips": 0, "plain": 90, "changes": 0}
    assert both.went("fast", fast) and both.went("plain", none)
    assert not both.went("plain", fast) and not both.went("fast", none)
    assert both.went("fast", dict.fromkeys(fast, 0)), "a droplet that was asked nothing"


def test_every_deploy_is_compared(tmp_path: Path) -> None:
    chosen = both.cases(both.every_deploy())
    assert {case.deploy for case in chosen} == {path.stem for path in (PROJECT / "deploys").glob("*.py")}
    order = [(case.deploy, case.title) for case in chosen]
    rows = [both_page.row(both.Compared(case, steps()), 3) for case in chosen[1:]]
    rows[0].differences.append("--dry: podcast: Release: changed | without change")
    merged = both_page.merge(tmp_path / "both-ways.json", rows, order)
    assert both_page.merge(tmp_path / "both-ways.json", [], order) == merged == rows
    both_page.write(merged, order[:1], tmp_path / "both-ways.md")
    text = (tmp_path / "both-ways.md").read_text()
    assert f"| **all** | {len(rows)} cases | {2 * len(rows)} |" in text
    assert "## Differences" in text and rows[0].differences[0] in text
    assert f"## Not run yet\n\n- {order[0][0]}, {order[0][1]}\n" in text


def figures(path: Path) -> Results:
    """Of eight droplets: 50 times faster than Ansible, 2.4 times the floor."""
    results = Results(path)
    for way, seconds in {
        "smallfleet": 1.2,
        "pyinfra": 9.0,
        "ansible": 60.0,
        "mitogen": 13.0,
        "floor": 0.5,
    }.items():
        figure = results.begin(8, "nothing", 0, way)
        figure.seconds, figure.changes = [seconds, seconds * 1.1, seconds * 0.9], [0, 0, 0]
        results.put(figure)
    return results


def test_figures_are_merged_by_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    figures(path)
    again = Results(path)
    figure = again.begin(8, "nothing", 0, "ansible")
    figure.seconds = [50.0]
    again.put(figure)
    kept = {(one["way"], tuple(one["seconds"])) for one in json.loads(path.read_text())["figures"]}
    assert ("ansible", (50.0,)) in kept and ("floor", (0.5, 0.55, 0.45)) in kept
    assert len(kept) == 5


def test_the_page_says_what_was_reached_and_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    results = figures(tmp_path / "speed.json")
    target = tmp_path / "speed.md"
    target.write_text(f"old\n{page.BY_HAND}\n\nWhere the rest goes.\n")
    page.write(results, target)
    text = target.read_text()
    assert "| nothing to change | 3 | 1.20 (1.08 to 1.32) |" in text
    assert "| nothing to change: faster than Ansible | 40 times | 50.0 times | yes |" in text
    assert "| 2.5 | 2.4 | yes |" in text
    assert text.endswith("Where the rest goes.\n") and "old" not in text


def test_the_picture_has_a_bar_for_each_way(tmp_path: Path) -> None:
    drawn = ElementTree.fromstring(picture.draw(figures(tmp_path / "speed.json")))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}rect")) == 6  # the background too


def test_runs_are_added_to_a_figure_of_the_same_machine_alone(tmp_path: Path) -> None:
    results = Results(tmp_path / "speed.json")
    for seconds, add in ((1.0, True), (3.0, True)):
        figure = results.begin(8, "first", 0, "ansible", add)
        figure.add(Run(seconds, 0.1, 7))
        results.put(figure)
    assert Results(results.path).begin(8, "first", 0, "ansible", add=True).seconds == [1.0, 3.0]
    assert Results(results.path).begin(8, "first", 0, "ansible").seconds == []
    figure.machine = "another"
    with pytest.raises(SystemExit, match="which was another"):
        results.begin(8, "first", 0, "ansible", add=True)


def test_only_of_a_droplet_that_reboots_connections_are_not_counted() -> None:
    one = "    [podcast] Connected\n    [mongo] Connected\n    [podcast] is back after 4.1 s\n"
    assert both.lines(one) == both.lines("    [podcast] Connected\n" + one.replace("4.1", "4.0"))
    assert both.lines(one) != both.lines("    [mongo] Connected\n" + one)
