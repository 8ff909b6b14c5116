"""The far side's pure parts: dnsmasq's configuration, and the git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

from smallfleet.lab import repositories
from smallfleet.lab.dns import dnsmasq_config
from smallfleet.lab.parts import Record


def test_records_in_dnsmasqs_words() -> None:
    records = [
        Record("MX", "example.com", "mail.example.com.", priority=10),
        Record("TXT", "example.com", 'a "b"'),
        Record("CAA", "example.com", "ca.example.net", flags=0, tag="issue"),
    ]
    lines = dnsmasq_config("198.18.1.1", Path("/lab/hosts"), ["example.com"], records).splitlines()
    assert "local=/example.com/" in lines
    assert "mx-host=example.com,mail.example.com,10" in lines
    assert 'txt-record=example.com,"a b"' in lines
    assert f"dns-rr=example.com,257,0005{b'issue'.hex()}{b'ca.example.net'.hex()}" in lines


def test_a_new_commit_only_for_new_content(tmp_path: Path) -> None:
    source, target = tmp_path / "demo", tmp_path / "git"
    (source / "app").mkdir(parents=True)
    (source / "app" / "file.txt").write_text("one")

    def log() -> list[str]:
        assert repositories.make(target, source) == ["app"]
        command = ["git", f"--git-dir={target}/app.git", "log", "--format=%H", "main"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    first = log()
    assert len(first) == 1
    assert log() == first
    (source / "app" / "file.txt").write_text("two")
    assert log()[1:] == first
