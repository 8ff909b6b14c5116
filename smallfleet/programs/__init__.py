"""Self-contained programs that are copied onto droplets and run there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PYTHON = "#!/usr/bin/python3 -IS"  # of its own library alone, which is found sooner

MODULES = {  # of a program that is more than one file, each after what it imports
    "release": (
        *("__init__", "app", "system", "health", "environment", "building", "switching", "keeping"),
        *("verbs", "cli"),
    ),
    "undo": ("__init__", "files", "running", "change"),
    "nginx_swap": ("__init__", "asking", "rehearsal", "swapping"),
    "mongodb_set": ("__init__", "steps", "asking", "verbs", "cli"),
}


def path(name: str) -> Path:
    """The file of the program `name` ("mongodb_users")."""
    return Path(__file__).parent / f"{name}.py"


@cache
def text(name: str) -> str:
    """The program `name` ("release") joined from its modules into one file, that droplets get in one step.

    What the modules import from each other, by name, falls away; their names share the file.
    """
    parts = [
        _without_own_imports((Path(__file__).parent / name / f"{module}.py").read_text())
        for module in MODULES[name]
    ]
    first, *others = parts
    end = '\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n'
    body = "\n\n".join(part.strip("\n") for part in others)
    return f"{PYTHON}\n{first.strip()}\n\nfrom __future__ import annotations\n\n{body}\n{end}"


def _without_own_imports(source: str) -> str:
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("__future__", __name__)):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "".join(lines)
