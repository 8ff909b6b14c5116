"""What locks the owner out is undone by the droplet itself, and the run says so: on a real droplet."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from smallfleet.cloud.client import Client
from smallfleet.lab.descriptor import Lab
from smallfleet.lab.visitor import ssh_command
from smallfleet.secrets import Secret
from tests.lab.conftest import BIN, INSTALLED, PATIENCE, Workplace, eventually, workplace
from tests.lab.faults import Cost, outage, record, timed, told
from tests.lab.visitors import Crowd, Site, Visit

DOORS = "deploys/doors.py"
SECONDS = 15  # the 60 of production
SSH, NFTABLES = "templates/ssh/smallfleet.conf.j2", "templates/nftables/nftables.conf.j2"
UNDONE = "the droplet has undone this change by itself"
AT_ONCE = "01-smallfleet.conf: undone"  # where the change itself failed
RESULTS = "cat /var/lib/smallfleet/undo/results/*.json"
STRANGER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJc4mYDeLzvXBLDkYBQGTpfxjGDPQ9sBKTH4F9c5NqUM somebody@else"
# What an owner may write into a deploy of his own.
CHANGE = """from pyinfra import host
from smallfleet.operations import guarded

"""


# Visitors see of a lock-out what they see of the firewall: a file that NGINX serves is enough of a site.
PLAIN = """kind: app
on: [nginx]
domain: plain.{domain}
files: {url: /files/, directory: /srv/plain}
"""


class Bare:
    """A droplet with its doors: sshd, users, keys, sudo and the firewall; and a file for visitors."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.inventory = place.write_inventory("bare", {"bare": ["plain"]})
        (place.directory / "roles/plain.yml").write_text(PLAIN)
        self.address = ""

    @contextlib.contextmanager
    def edited(self, file: str, old: str, new: str) -> Iterator[None]:
        """The owner's file with `new` in place of `old`, and as it was afterwards."""
        kept = self.read(file)
        assert old in kept
        self.write(file, kept.replace(old, new))
        try:
            yield
        finally:
            self.write(file, kept)

    def write(self, file: str, text: str) -> None:
        (self.place.directory / file).write_text(text)

    def read(self, file: str) -> str:
        return (self.place.directory / file).read_text()

    def run(self, deploy: str = DOORS) -> subprocess.CompletedProcess[str]:
        return self.place.run("pyinfra", self.inventory, deploy, "-y", check=False)

    def ssh(self, command: str) -> str:
        return self.place.ssh("bare", command)

    def doors(self) -> str:
        """All that decides who comes in, as it lies on the disk and as it runs."""
        files = "find /etc/ssh /etc/sudoers.d /root/.ssh -type f | sort | xargs sha256sum"
        more = "sha256sum /etc/nftables.conf /etc/passwd /etc/shadow; nft -s list ruleset; sshd -T"
        return self.ssh(f"{files}; {more}; systemctl is-active ssh")

    def sshd(self) -> str:
        """The process that listens."""
        return self.ssh("systemctl show --value --property MainPID ssh.service")

    def results(self) -> list[dict]:
        """What became of each change, in the order of their arming."""
        found = [json.loads(line) for line in self.ssh(RESULTS).splitlines()]
        return sorted(found, key=lambda result: result["armed"])

    def crowd(self) -> Crowd:
        """Visitors, who come from another address than the owner."""
        site = Site("plain", "plain.example.com", self.address)
        visits = [
            Visit(site, "file", "/files/one.txt", rate=5, shows="one"),
            Visit(site, "new", "/files/one.txt", rate=5, fresh=True, shows="one"),
        ]
        lab = Lab.load(self.place.lab)
        return Crowd(lab.ca, visits, namespace=lab.namespace)

    def undone(self, fault: str, cause: str, deploy: str = DOORS, words: str = UNDONE) -> str:
        """Run a change that locks out: an error at its end, and all is as it was; what the owner is told.

        `words`: AT_ONCE where the change itself fails already, which is undone without any waiting.
        """
        before = self.doors()
        with self.crowd() as crowd:
            crowd.wait_for(20)
            with timed() as seconds:
                done = self.run(deploy)
            crowd.wait_for(len(crowd.answers) + 20)
        said = done.stdout + done.stderr
        assert done.returncode != 0, said
        assert words in said, said
        assert self.doors() == before
        last = self.results()[-1]
        assert last["state"] == "undone"
        self.record(fault, cause, crowd, told(said, words), seconds(), last["time"] - last["armed"])
        assert not crowd.failed, crowd.table()
        return said

    def record(
        self, fault: str, cause: str, crowd: Crowd, words: str, run: float, back: float | None
    ) -> None:
        counts = len(crowd.answers), len(crowd.failed)
        record(Cost("A lock-out", fault, cause, *counts, words, run, back))


@contextlib.contextmanager
def running(words: list, place: Workplace | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process beside the test, in the workplace if one is given; it does not outlive the test."""
    process = subprocess.Popen(
        words,
        cwd=place.directory if place else None,
        env=place.environment() if place else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    with workplace(tmp_path_factory.mktemp("lockout"), INSTALLED) as place:
        bare = Bare(place)
        base = bare.read("roles/base.yml")
        assert "undo_seconds: 60" in base
        bare.write("roles/base.yml", base.replace("undo_seconds: 60", f"undo_seconds: {SECONDS}"))
        includes = [f'local.include("deploys/{name}.py")' for name in ("base", "firewall")]
        bare.write(DOORS, "\n".join(["from pyinfra import local", *includes]) + "\n")
        place.deploy(bare.inventory, DOORS, "deploys/nginx.py", "deploys/tls.py")
        bare.ssh("mkdir -p /srv/plain && echo one > /srv/plain/one.txt")
        bare.address = bare.ssh("ip -4 -o address show dev eth0").split()[3].split("/")[0]
        yield bare


def test_a_good_change_is_confirmed_at_once_and_armed_only_when_there_is_one(bare: Bare) -> None:
    base = bare.read("roles/base.yml")
    assert "max_auth_tries: 4" in base
    bare.write("roles/base.yml", base.replace("max_auth_tries: 4", "max_auth_tries: 5"))
    before, sshd = bare.results(), bare.sshd()
    dry = bare.place.run("pyinfra", bare.inventory, DOORS, "--dry")
    assert "Let in by key only" in dry.stdout + dry.stderr and bare.results() == before  # nothing is armed
    with bare.crowd() as crowd:
        crowd.wait_for(20)
        with timed() as seconds:
            changes = bare.place.deploy(bare.inventory, DOORS)["bare"]
        crowd.wait_for(len(crowd.answers) + 20)
    assert len(changes) == 1 and "Let in by key only" in changes[0], changes
    # One that was only told to read its files again may have let the fresh connection in before it did.
    assert bare.sshd() != sshd
    results = bare.results()
    assert {result["state"] for result in results} == {"confirmed"}, results
    for result in results:
        waited = result["time"] - result["armed"]
        print(f"{result['what']}: confirmed {waited:.2f} s after it was armed")
        assert waited < SECONDS
    last = max(results, key=lambda result: result["armed"])
    words = f"nothing: it is confirmed {last['time'] - last['armed']:.1f} s after it was armed"
    bare.record("A change that is fine", "sshd_config: MaxAuthTries 5", crowd, words, seconds(), None)
    assert not crowd.failed, crowd.table()
    assert "maxauthtries 5" in bare.ssh("sshd -T")
    # A second run changes nothing, arms nothing, and there is nothing left to confirm.
    assert bare.place.deploy(bare.inventory, DOORS) == {"bare": []}
    assert bare.results() == results
    assert bare.ssh("ls /var/lib/smallfleet/undo").split() == ["lock", "results"]


def test_a_firewall_that_denies_the_owner_is_undone(bare: Bare) -> None:
    owner = bare.ssh("echo $SSH_CLIENT").split()[0]
    first = "        ct state established,related accept"
    # Even the connection of the run itself is cut off.
    with bare.edited(NFTABLES, first, f"        ip saddr {owner} drop\n{first}"):
        fault = "The firewall denies the owner's own address"
        assert "The firewall's rules" in bare.undone(fault, "nftables.conf: ip saddr OWNER drop")


@pytest.mark.parametrize(
    ("line", "words"), [("AllowUsers nobody", UNDONE), ("ListenAddress 192.0.2.1", AT_ONCE)]
)
def test_an_sshd_that_passes_its_check_and_locks_out_is_undone(bare: Bare, line: str, words: str) -> None:
    fault = "A valid sshd_config that lets nobody in"
    with bare.edited(SSH, "X11Forwarding no\n", f"X11Forwarding no\n{line}\n"):
        assert "01-smallfleet.conf" in bare.undone(fault, f"sshd_config: {line}", words=words)


def test_changes_of_sshd_in_quick_succession_are_all_confirmed(bare: Bare) -> None:
    text = CHANGE
    for number in range(7):  # systemd refuses the sixth start within ten seconds
        commands = [f"echo 'MaxSessions 1{number}' > /etc/ssh/sshd_config.d/02-many.conf"]
        shell = f"commands={commands!r}, undo_seconds={SECONDS}, what='Change {number}'"
        text += f"guarded.shell(name='Change {number}', {shell})\n"
    bare.write("deploys/many.py", text)
    bare.place.deploy(bare.inventory, "deploys/many.py")
    last = bare.results()[-7:]
    assert [(each["what"], each["state"]) for each in last] == [
        (f"Change {number}", "confirmed") for number in range(7)
    ]
    assert "maxsessions 16" in bare.ssh("sshd -T; rm /etc/ssh/sshd_config.d/02-many.conf")


def test_a_key_that_was_taken_away_comes_back(bare: Bare) -> None:
    user = f"user='root', home='/root', public_keys=[{STRANGER!r}], delete_keys=True, undo_seconds={SECONDS}"
    bare.write("deploys/keys.py", f"{CHANGE}guarded.user(name='Change keys', {user})\n")
    cause = "guarded.user with another key, delete_keys=True"
    assert "The account root" in bare.undone("The owner's key taken away", cause, "deploys/keys.py")


def test_network_and_sshd_broken_together_are_undone_together(bare: Bare) -> None:
    commands = [
        "echo 'AllowUsers nobody' > /etc/ssh/sshd_config.d/00-broken.conf",
        "systemctl stop ssh.service",
        "echo 'table inet broken { chain i { type filter hook input priority -5; tcp dport 22 drop; }; }'"
        " | tee -a /etc/nftables.conf | nft -f -",
    ]
    shell = f"commands={commands!r}, undo_seconds={SECONDS}, what='Both'"
    bare.write("deploys/both.py", f"{CHANGE}guarded.shell(name='Break both', {shell})\n")
    cause = "AllowUsers nobody, sshd stopped, and port 22 dropped, in one change"
    bare.undone("Network and sshd broken together", cause, "deploys/both.py")


def test_an_undo_that_fails_is_not_reported_as_one_that_was_made(bare: Bare) -> None:
    commands = [
        "echo 'AllowUsers nobody' > /etc/ssh/sshd_config.d/00-broken.conf",
        "mount -t tmpfs -o ro none /etc/sudoers.d",
    ]
    shell = f"commands={commands!r}, undo_seconds={SECONDS}, what='Half'"
    bare.write("deploys/half.py", f"{CHANGE}guarded.shell(name='Break the undo', {shell})\n")
    # The test does not wait for the undo as long as a run does: what fails goes on failing.
    short = "guarded.GRACE = 5\n"
    bare.write("deploys/half.py", bare.read("deploys/half.py").replace("\n\n", f"\n{short}\n", 1))
    before = bare.doors()
    with bare.crowd() as crowd:
        crowd.wait_for(20)
        with timed() as seconds:
            done = bare.run("deploys/half.py")
        crowd.wait_for(len(crowd.answers) + 20)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and UNDONE not in said, said
    assert "THE UNDO FAILED" in said and "/etc/sudoers.d" in said and "Read-only" in said, said
    # What could be undone is undone, and the rest is as soon as it can be.
    failed = bare.results()[-1]
    assert failed["state"] == "failed"
    bare.ssh("umount /etc/sudoers.d")
    eventually(lambda: bare.results()[-1]["state"] == "undone", "the undo is made after all")
    assert bare.doors() == before
    cause = "/etc/sudoers.d made read-only; writable again after the run"
    back = bare.results()[-1]["time"] - failed["armed"]
    bare.record("An undo that fails", cause, crowd, told(said, "THE UNDO FAILED"), seconds(), back)
    assert not crowd.failed, crowd.table()


def test_a_reboot_before_the_confirmation_brings_the_old_state_back(bare: Bare) -> None:
    before, armed = bare.doors(), len(bare.results())
    boot = bare.ssh("cat /proc/sys/kernel/random/boot_id")
    # Through a connection that was there before, the test sees when the change is live and its command over.
    live = "sshd -T | grep -q 'allowusers nobody' && [ ! -e /etc/ssh/sshd_config.d/.01-smallfleet.conf.last ]"
    watch = f"until {live}; do sleep 0.1; done"
    lab = Lab.load(bare.place.lab)
    client = Client(lab.api, Secret(lab.token))
    with contextlib.ExitStack() as stack:
        # So long that only the reboot can have undone it.
        stack.enter_context(bare.edited("roles/base.yml", f"undo_seconds: {SECONDS}", "undo_seconds: 600"))
        stack.enter_context(bare.edited(SSH, "X11Forwarding no\n", "X11Forwarding no\nAllowUsers nobody\n"))
        watcher = stack.enter_context(running(ssh_command(lab, "bare", [watch])))
        run = stack.enter_context(running([BIN / "pyinfra", bare.inventory, DOORS, "-y"], bare.place))
        assert watcher.wait(timeout=PATIENCE) == 0
        crowd = stack.enter_context(bare.crowd())
        crowd.wait_for(20)
        began = time.monotonic()
        droplet = client.get("droplets")["droplets"][0]["id"]
        client.post(f"droplets/{droplet}/actions", {"type": "power_cycle"})
        said, _ = run.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - began
        crowd.wait_for(len(crowd.answers) + 20)
    assert run.returncode != 0 and UNDONE in said and "the droplet was rebooted" in said, said
    assert bare.ssh("cat /proc/sys/kernel/random/boot_id") != boot
    assert len(bare.results()) == armed + 1 and bare.results()[-1]["state"] == "undone"
    assert bare.doors() == before
    away = outage(crowd)
    cause = "AllowUsers nobody; power cut before the confirmation"
    bare.record("A reboot in the middle of the confirmation", cause, crowd, told(said, UNDONE), seconds, away)
    assert (away or 0) < 300, crowd.table()  # the boot itself


def test_what_a_run_that_was_cut_off_left_is_undone_by_the_next(bare: Bare) -> None:
    before = bare.doors()
    bare.ssh("smallfleet-undo arm cut --seconds 600 --what 'A change of a run that was cut off'")
    bare.ssh(
        "echo '# unconfirmed' >> /etc/nftables.conf; echo 'Banner none' > /etc/ssh/sshd_config.d/02-cut.conf"
    )
    changes = bare.place.deploy(bare.inventory, DOORS)["bare"]
    assert len(changes) == 1 and "Undo what an earlier run" in changes[0], changes
    assert bare.doors() == before
    assert bare.place.deploy(bare.inventory, DOORS) == {"bare": []}
