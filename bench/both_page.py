"""The page docs/both-ways.md: what bench.both compared, and what differed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench import compare

if TYPE_CHECKING:
    from bench.both import Compared

TEXT = """# Every deploy, in both ways

smallfleet's [connector](connector.md) asks facts in another way than pyinfra's own SSH connector does. Here
every deploy script is run through both, on the same droplets of the lab, and all that they did is compared,
operation by operation.

{count} droplets, pyinfra {pyinfra}, {date}, by `python -m bench.both`, which ends with 1 if anything differs.

{table}

- **operations**: of the run with `-y` through pyinfra's own connector, each counted on each droplet; how many
  of them changed it, and how many commands they ran. **failed**: with those that were not begun after it.
- Each case is run with `--dry` and with `-y`; where there is nothing to change, twice: in the first run the
  connector learns what is asked, in the second it asks all that ahead.
- Edited by hand, or what else a case is called after: the same was done to the droplets before each way's
  turn. `bench/disturbances.py` has all of it.
- Compared are, droplet by droplet and in order: the operations; whether each changed something, had nothing
  to change, failed or was not begun, and with `--dry` whether it would change something; every command that
  ran, and the hash of each file that was uploaded; what failed operations said; what pyinfra printed, with
  the lines sorted, as droplets work at once; and its exit status.
- What is another in each run, whoever makes it, is not compared: {own}.
{notes}"""
NOTES = """- `names` and `members` have nothing to change here: they are for an edge and for MongoDB's set.
  `rollback` always changes something. `patch` has installed the pending updates once before, and reboots one
  droplet in each way; how often that was connected to until it went down is not compared.
"""


@dataclass(frozen=True)
class Row:
    """A case in both ways. The numbers are of the run with -y through pyinfra's own connector."""

    deploy: str
    case: str
    operations: int
    changed: int
    failed: int  # with those that were not begun
    commands: int
    differences: list[str]
    droplets: int
    date: str


def row(result: Compared, droplets: int) -> Row:
    steps = result.steps
    return Row(
        deploy=result.case.deploy,
        case=result.case.title,
        operations=compare.count(steps),
        changed=compare.with_result(steps, ["changed"]),
        failed=compare.with_result(steps, ["failed", "not begun"]),
        commands=compare.commands(steps),
        differences=result.differences,
        droplets=droplets,
        date=str(datetime.now(UTC).date()),
    )


def merge(path: Path, rows: Sequence[Row], order: Sequence[tuple[str, str]]) -> list[Row]:
    """The rows and those that the JSON file `path` has of other cases, written there.

    `order` are all cases, (deploy, title); what is none of them is left out.
    """
    old = [Row(**kept) for kept in json.loads(path.read_text())] if path.exists() else []
    known = {(one.deploy, one.case): one for one in [*old, *rows]}
    merged = [known[key] for key in order if key in known]
    path.write_text(json.dumps([asdict(one) for one in merged], indent=1) + "\n")
    return merged


def table(rows: Sequence[Row]) -> str:
    """In Markdown, a line for each case and one for all."""
    lines = [
        "| deploy | case | operations | changed | failed | commands | differences |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    totals = [0] * 5
    for one in rows:
        numbers = [one.operations, one.changed, one.failed, one.commands, len(one.differences)]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        lines.append(f"| {' | '.join([one.deploy, one.case, *map(str, numbers)])} |")
    lines.append(f"| **all** | {len(rows)} cases | {' | '.join(map(str, totals))} |")
    return "\n".join(lines)


def write(rows: Sequence[Row], missing: Sequence[tuple[str, str]], path: Path) -> None:
    """Write the page anew; what differed, and the cases that were not run, are listed at its end."""
    text = TEXT.format(
        count=" or ".join(map(str, sorted({one.droplets for one in rows}))),
        pyinfra=version("pyinfra"),
        date=" to ".join(sorted({one.date for one in rows})),
        table=table(rows),
        own="; ".join(compare.OWN),
        notes=NOTES,
    )
    different = [f"- {one.deploy}, {one.case}: `{line}`" for one in rows for line in one.differences]
    if different:
        text += "\n## Differences\n\n" + "\n".join(different) + "\n"
    if missing:
        text += "\n## Not run yet\n\n" + "".join(f"- {deploy}, {case}\n" for deploy, case in missing)
    path.write_text(text)
