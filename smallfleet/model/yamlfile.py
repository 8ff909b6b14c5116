"""YAML files that remember on which line each value stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# libyaml's where PyYAML was built with it: ten times as fast.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """PyYAML's, but `on`, `off`, `yes` and `no` are words (YAML 1.2): roles have a key `on`."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))

Where = tuple[str | int, ...]


@dataclass
class YamlFile:
    """One file's mapping, and the line (from 1) of each key and item by its path: ("app", "secrets", 0)."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Where, int] = field(default_factory=dict)

    def at(self, where: Iterable[str | int] = ()) -> str:
        """`file:line` of the value at `where`, or of the nearest mapping around it that is in the file."""
        place = tuple(where)
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"


def read_yaml(path: Path, problems: list[str]) -> YamlFile | None:
    """Read a mapping. What is wrong is added to `problems`; None if there is nothing to go on with."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
        return None
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problems.append(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}")
        return None
    except yaml.YAMLError as error:
        problems.append(f"{path}: not YAML: {error}")
        return None
    if not isinstance(node, yaml.MappingNode):
        problems.append(f"{path}:1: should be a mapping that starts with kind:")
        return None
    file = YamlFile(path)
    if not _walk(node, (), file, problems):
        return None
    # From the same nodes, so that what was mended in them holds.
    file.data = _Loader("").construct_document(node)
    return file


def _walk(node: yaml.Node, where: Where, file: YamlFile, problems: list[str]) -> bool:
    """Note each value's line, and what is wrong with keys; False if there is nothing to go on with."""
    usable = True
    file.lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                problems.append(f"{file.path}:{line}: a key should be a plain word")
                usable = False
                continue
            if key.tag == _BOOL and key.value == "true":
                # A tool that reads YAML 1.1 writes `on:` back like this.
                key.tag, key.value = "tag:yaml.org,2002:str", "on"
            # PyYAML keeps the last of two equal keys without a word: the owner would look at the other one.
            if key.value in seen:
                problems.append(f"{file.path}:{line}: {key.value} is there twice")
            seen.add(key.value)
            file.lines[(*where, key.value)] = line
            usable = _walk(value, (*where, key.value), file, problems) and usable
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            usable = _walk(item, (*where, index), file, problems) and usable
    return usable
