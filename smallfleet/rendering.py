"""Templates, each compiled once a run, for however many droplets it is rendered."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def environment(directory: Path) -> Environment:
    """Jinja as all our templates are read: an unknown variable is an error, a line of `{% %}` leaves none."""
    return Environment(
        loader=FileSystemLoader(directory),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: Path, **values: Any) -> str:
    """The template as text."""
    return environment(template.parent.absolute()).get_template(template.name).render(**values)
