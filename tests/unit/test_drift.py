"""What the facts about changes by hand make of what a droplet prints."""

from __future__ import annotations

from pyinfra.facts.deb import DebPackages

from smallfleet.facts.drift import HeldPackages, NftDrift, People, StrayDropIns

FILE, TABLE = "/etc/nftables.conf", "inet smallfleet"


def test_people_and_whether_they_may_log_in() -> None:
    assert People().process(["ada ", "mallory 1", "bob 20000"]) == {
        "ada": True,
        "mallory": False,
        "bob": True,
    }


def test_held_packages() -> None:
    said = [
        "Desired=Unknown/Install/Remove/Purge/Hold",
        "| Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend",
        "||/ Name           Version      Architecture Description",
        "+++-==============-============-============-=====================",
        "ii  curl           7.88.1-10    amd64        a client of many protocols",
        "hi  nginx          1.22.1-9     amd64        a web server",
        "hHR libc6:amd64    2.36-9       amd64        the C library",
        "rc  hello          2.10-3       amd64        removed",
    ]
    assert HeldPackages().process(said) == ["nginx", "libc6:amd64"]
    # So that one answer serves both.
    assert HeldPackages().command() == DebPackages().command()


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
