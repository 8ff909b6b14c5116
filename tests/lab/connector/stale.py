"""A file that is changed by all ways there are, and asked for in between."""

import os
import subprocess
import time

from common import FILE, Raw, Text, ask, note, write
from pyinfra import host, state
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.operations import files, python

first = next(one.name for one in state.inventory) == host.name


def behind(text):
    """Change the file by a way that pyinfra does not see."""
    data = host.connector.data
    options = [f"UserKnownHostsFile={data['ssh_known_hosts_file']}", "BatchMode=yes"]
    words = ["ssh", "-i", data["ssh_key"], *(word for option in options for word in ("-o", option))]
    subprocess.run([*words, f"root@{data['ssh_hostname']}", f"printf %s {text} > {FILE}"], check=True)


def others():
    for other in state.inventory:
        if other.name != host.name:
            other.run_shell_command(StringCommand(f"printf other > {FILE}"))


def function():
    behind("within-1")
    note("in a function", host.get_fact(Text))
    behind("within-2")
    note("in a function", host.get_fact(Text))


@operation()
def function_and_fact():
    note("before", host.get_fact(Text))
    yield FunctionCommand(behind, ("mine",), {})
    note("after", host.get_fact(Text))


def boot_id():
    """[] where the connection ends just then: of EOFError pyinfra does not say that there is no answer."""
    try:
        return host.get_fact(Raw, text="cat /proc/sys/kernel/random/boot_id", _ignore_errors=True)
    except EOFError:
        return []


def reboot():
    before = boot_id()
    host.run_shell_command(StringCommand("(sleep 0.5; reboot --force) </dev/null >/dev/null 2>&1 &"))
    for _ in range(120):
        time.sleep(0.5)
        host.disconnect()
        host.connect(show_errors=False)
        if host.connected and boot_id() not in ([], before):
            note("rebooted", True)
            return
    note("rebooted", False)


note("loading", host.get_fact(Text))
ask(name="Ask", what="asked")
write("one")
ask(name="Ask", what="asked")
ask(name="Ask", what="asked")
write("two")
ask(name="Ask", what="asked")
files.put(name="Put", src=os.environ["BINARY"], dest=FILE)
ask(name="Ask", what="asked")
python.call(name="Change it from elsewhere", function=lambda: behind("elsewhere"))
ask(name="Ask", what="asked")
python.call(name="Ask in a function", function=function)
ask(name="Ask", what="asked")
function_and_fact(name="A function and a fact in one operation")
ask(name="Ask", what="asked")
if first:
    python.call(name="Change the others", function=others)
ask(name="Ask", what="asked")
python.call(name="Reboot", function=reboot)
ask(name="Ask", what="asked")
write("last")
ask(name="Ask", what="asked")
