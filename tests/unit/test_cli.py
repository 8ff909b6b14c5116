"""What every `fleet` command does with a mistake of its owner."""

from __future__ import annotations

import pytest

from smallfleet import cli
from smallfleet.errors import FleetError


def test_a_mistake_is_told_to_the_last_bracket(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise FleetError("roles/video.yml:2: mongodb: is given, so write needs: [mongodb]")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == "fleet: roles/video.yml:2: mongodb: is given, so write needs: [mongodb]\n"
