"""The page docs/both-ways.md: what bench.both compared, and what differed."""

from __future__ import annotations

from collections.abc import Sequence
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
  droplet in each way.
"""


def table(results: Sequence[Compared]) -> str:
    """In Markdown, a line for each case and one for all."""
    lines = [
        "| deploy | case | operations | changed | failed | commands | differences |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    totals = [0] * 5
    for result in results:
        steps = result.steps
        numbers = [
            compare.count(steps),
            compare.with_result(steps, ["changed"]),
            compare.with_result(steps, ["failed", "not begun"]),
            compare.commands(steps),
            len(result.differences),
        ]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        cells = [result.case.deploy, result.case.title, *map(str, numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| **all** | {len(results)} cases | {' | '.join(map(str, totals))} |")
    return "\n".join(lines)


def write(results: Sequence[Compared], droplets: int, path: Path) -> None:
    """Write the page anew; what differed is listed at its end."""
    own = "; ".join(compare.OWN)
    text = TEXT.format(
        count=droplets,
        pyinfra=version("pyinfra"),
        date=datetime.now(UTC).date(),
        table=table(results),
        own=own,
        notes=NOTES,
    )
    different = [(result.case, line) for result in results for line in result.differences]
    if different:
        text += "\n## Differences\n\n"
        text += "".join(f"- {case.deploy}, {case.title}: `{line}`\n" for case, line in different)
    path.write_text(text)
