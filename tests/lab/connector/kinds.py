"""Commands and facts of all kinds."""

import os

from common import Raw, ask, note
from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.facts import deb, hardware
from pyinfra.facts import files as file_facts
from pyinfra.facts import server as server_facts
from pyinfra.facts import systemd as systemd_facts
from pyinfra.operations import files, python, server

# Ends the shell that asks, where there is one: with plain SSH, the parent is sshd.
KILL = """p=$PPID; while [ "$(cat /proc/$p/comm)" = sh ]; do
n=$(cut -d' ' -f4 /proc/$p/stat); kill -9 $p; p=$n; done; echo alive"""

FACTS = [
    (deb.DebPackages, {}),
    (server_facts.Which, {"command": "sh"}),
    (server_facts.Home, {"user": "games"}),
    (server_facts.Hostname, {}),
    (server_facts.Os, {}),
    (server_facts.LinuxDistribution, {}),
    (file_facts.File, {"path": "/etc/passwd"}),
    (file_facts.File, {"path": "/missing"}),
    (file_facts.Directory, {"path": "/etc"}),
    (file_facts.Sha256File, {"path": "/etc/passwd"}),
    (file_facts.FileContents, {"path": "/etc/passwd"}),
    (file_facts.FileContents, {"path": "/missing"}),
    (hardware.Ipv4Addrs, {}),
    (systemd_facts.SystemdEnabled, {"services": ["ssh.service"]}),
    (Raw, {"text": "printf 'no newline'"}),
    (Raw, {"text": "printf '\\n\\n a \\n\\n'"}),
    (Raw, {"text": "echo out; echo err >&2"}),
    (Raw, {"text": "cat; echo input ended"}),
    (Raw, {"text": "id -un", "_sudo": True, "_sudo_user": "nobody"}),
    (Raw, {"text": "id -un; echo $HOME", "_su_user": "games", "_su_shell": "sh"}),
    (Raw, {"text": "echo $WORD", "_env": {"WORD": "two words $HOME"}}),
    (Raw, {"text": "pwd", "_chdir": "/usr/lib"}),
    (Raw, {"text": "echo $0 ${BASH_VERSION:+bash}", "_shell_executable": "bash"}),
    (Raw, {"text": "echo 'ä ö \\xff' | tr x x; printf 'caf\\303\\251\\n'"}),
    (Raw, {"text": "head -c 10000000 /dev/zero | tr '\\0' x | fold -w 1000"}),
    (Raw, {"text": "echo partly; exit 3", "_ignore_errors": True}),
    (Raw, {"text": "sleep 5", "_timeout": 1, "_ignore_errors": True}),
    (Raw, {"text": "test -t 1 && echo terminal", "_get_pty": True}),
    (Raw, {"text": "cat", "_stdin": ["one", "two"]}),
    (Raw, {"text": "no-such-program", "_ignore_errors": True}),
    (Raw, {"text": KILL}),
    (server_facts.Command, {"command": "echo more >> /root/log; wc -l < /root/log"}),
    (server_facts.Command, {"command": "echo more >> /root/log; wc -l < /root/log"}),
]


@operation()
def gather():
    for fact, arguments in FACTS:
        found = host.get_fact(fact, **arguments)
        note(f"{fact.__name__} {arguments}", found)
    if False:
        yield


@operation()
def run(text, arguments):
    yield StringCommand(text, **arguments)


server.shell(name="Begin anew", commands=["rm -rf /root/log /srv/seen /root/binary"])
gather(name="Gather")
for text, arguments in host.loop(
    [
        ("echo out; echo err >&2; exit 4", {}),
        ("sleep 5", {"_timeout": 1}),
        ("cat >> /root/log", {"_stdin": ["a", "b"]}),
        ("test -t 0", {"_get_pty": True}),
        ("id -un | grep -x nobody", {"_sudo": True, "_sudo_user": "nobody"}),
        ("id -un | grep -x games", {"_su_user": "games", "_su_shell": "sh"}),
        ("kill -9 $$", {}),
        ("exit 7", {"_success_exit_codes": [7]}),
        ("systemctl restart ssh.service", {}),
        ("head -c 1000000 /dev/zero", {}),
    ]
):
    done = run(name=f"Run {text}", text=text, arguments=arguments, _ignore_errors=True)
    python.call(
        name="Note it",
        function=lambda done, text: note(
            text, [done.did_succeed(), done.stdout_lines[:3], done.stderr_lines[:3]]
        ),
        done=done,
        text=text,
    )
    ask(name="Ask after it", what=f"log after {text}", path="/root/log")
files.put(name="Put bytes", src=os.environ["BINARY"], dest="/root/binary")
files.get(name="Get bytes", src="/root/binary", dest=os.environ["BINARY"] + "." + host.name)
gather(name="Gather once more")
