"""The words of its command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pymongo.errors import PyMongoError

from smallfleet.programs.mongodb_set.asking import Failure, Set
from smallfleet.programs.mongodb_set.verbs import begin, join, leave, let_go, ready, state

VERBS: dict[str, Callable[[Set], None]] = {
    "state": lambda here: print(json.dumps(state(here))),
    "begin": begin,
    "begin-with-data": lambda here: begin(here, with_data=True),
    "yield": let_go,
    "ready": ready,
    "join": join,
    "leave": leave,
}


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what the words say; the status that the program ends with."""
    parser = argparse.ArgumentParser(prog="mongodb_set.py", description="MongoDB's replica set.")
    parser.add_argument("verb", choices=list(VERBS))
    parser.add_argument("set", type=Path)
    parser.add_argument("users", type=Path)
    wanted = parser.parse_args(arguments)
    try:
        VERBS[wanted.verb](Set(json.loads(wanted.set.read_text()), wanted.users))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except PyMongoError as error:
        print(f"MongoDB: {type(error).__name__}: {getattr(error, 'details', None) or error}", file=sys.stderr)
        return 1
    return 0


def main() -> NoReturn:
    """End at once: pymongo's threads sleep half a second before they do, and Python would wait for them."""
    status = run()
    sys.stdout.flush()
    os._exit(status)
