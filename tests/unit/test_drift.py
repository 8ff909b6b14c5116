"""What the facts about changes by hand make of what a droplet prints."""

from __future__ import annotations

from smallfleet.facts.drift import HeldPackages, NftDrift, People, StrayDropIns

FILE, TABLE = "/etc/nftables.conf", "inet smallfleet"


def test_people_and_whether_they_may_log_in() -> None:
    assert People().process(["ada ", "mallory 1", "bob 20000"]) == {
        "ada": True,
        "mallory": False,
        "bob": True,
    }


def test_held_packages() -> None:
    assert HeldPackages().process(["nginx", ""]) == ["nginx"]


def test_the_kernels_rules_against_the_files() -> None:
    said = ["now aa -", "wanted aa -", "table inet smallfleet", "our inet smallfleet"]
    assert NftDrift().process(said) == {"differs": False, "strays": []}
    said = ["now aa -", "wanted bb -", "table ip mine", "table inet smallfleet", "our inet smallfleet"]
    assert NftDrift().process(said) == {"differs": True, "strays": ["ip mine"]}
    assert NftDrift.default() == {"differs": False, "strays": []}
    assert "unshare -n" in str(NftDrift().command(FILE, TABLE))


def test_our_own_drop_ins_are_none_of_others() -> None:
    command = str(StrayDropIns().command(["podcast@.service"]))
    assert "/etc/systemd/system/podcast@.service.d" in command and "! -name 'smallfleet*'" in command
