"""What the deploys of the connector's tests share: `ask` writes down what it sees when it runs."""

import hashlib
import json
import os
from pathlib import Path

from pyinfra import host, state
from pyinfra.api import FactBase, operation
from pyinfra.operations import server

SEEN = Path(os.environ["SEEN"])
FILE = "/srv/seen"


def note(what, value):
    """Write down a value, a long one by its digest."""
    text = json.dumps(value, default=str)
    if len(text) > 10_000:
        text = hashlib.sha256(text.encode()).hexdigest()
    with SEEN.open("a") as out:
        out.write(json.dumps([host.name, int(state.current_stage), what, text]) + "\n")


class Text(FactBase):
    """What stands in a file; "" where there is none."""

    default = str

    def command(self, path=FILE):
        return f"cat {path} 2>/dev/null || true"

    def process(self, output):
        return "\n".join(output)


class Raw(FactBase):
    """The lines of any command that changes nothing."""

    default = list

    def command(self, text):
        return text

    def process(self, output):
        return output


@operation()
def ask(what, **arguments):
    note(what, host.get_fact(Text, **arguments))
    if False:
        yield


def write(text, path=FILE):
    return server.shell(name=f"Write {text}", commands=[f"printf %s {text} > {path}"])
