"""The reboot check, without a droplet: what its parts make of what programs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallfleet.facts.reboot import RebootProblems
from smallfleet.programs import reboot_check


def test_the_fact_sends_the_whole_program_and_reads_its_list() -> None:
    fact = RebootProblems()
    assert "def main" in fact.command().get_raw_value()
    assert fact.process(['["nginx.service would not be started at boot: it is disabled"]']) == [
        "nginx.service would not be started at boot: it is disabled"
    ]
    assert fact.process(["[]"]) == []


def test_what_passed_is_left_out_of_the_words() -> None:
    said = "/etc/sudoers: parsed OK\n/etc/sudoers.d/zz:1:5: syntax error\nx y z\n    ^\n"
    assert reboot_check.words_of(said) == "/etc/sudoers.d/zz:1:5: syntax error; x y z; ^"
    assert reboot_check.words_of("\n") == "it does not say why"


@pytest.mark.parametrize(
    ("state", "comes"),
    [("enabled", True), ("static", True), ("disabled", False), ("masked", False), ("enabled-runtime", False)],
)
def test_a_unit_is_started_at_boot_if_it_is_enabled_on_the_disk(
    monkeypatch: pytest.MonkeyPatch, state: str, comes: bool
) -> None:
    monkeypatch.setattr(reboot_check, "run", lambda *command: (0 if comes else 1, f"{state}\n"))
    assert (reboot_check.starts("nginx.service") == []) is comes


def test_a_check_that_cannot_be_made_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disk() -> list[str]:
        raise PermissionError("not for you")

    monkeypatch.setattr(reboot_check, "CHECKS", [disk])
    assert reboot_check.main() == 0
    assert capsys.readouterr().out == '["disk could not be checked: not for you"]\n'


def test_an_app_needs_its_socket_its_release_and_its_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reboot_check, "APPS", tmp_path)
    monkeypatch.setattr(reboot_check, "starts", lambda unit: [f"{unit} is off"])
    assert reboot_check.apps() == []
    (tmp_path / "nosuchapp.json").write_text("{}")
    assert reboot_check.apps() == ["nosuchapp.socket is off"]  # no release of it yet


def test_only_what_is_said_of_our_own_units_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = """/etc/systemd/system/a.service:3: Unknown key 'Bogus' in section [Service], ignoring.
/lib/systemd/system/mongod.service:9: PIDFile= references a path below legacy directory /var/run/, updating
other.service: Command /nowhere is not executable: No such file or directory
a.socket: service a.service not loaded, socket cannot be started.
"""
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(reboot_check, "APPS", tmp_path)
    monkeypatch.setattr(reboot_check, "run", lambda *command: (1, said))
    assert reboot_check.units() == [
        "systemd units: /etc/systemd/system/a.service:3: Unknown key 'Bogus' in section [Service], ignoring.",
        "systemd units: a.socket: service a.service not loaded, socket cannot be started.",
    ]
