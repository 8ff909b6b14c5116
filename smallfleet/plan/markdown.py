"""A plan as a comment on a pull request."""

from __future__ import annotations

import html
import re

from smallfleet.plan.model import Droplet, Operation, Plan
from smallfleet.plan.words import counted, in_words, money, title_of

LIMIT = 65536  # characters that GitHub takes in a comment
CUT = (
    "\n\n> **Cut here**: GitHub takes no longer comment. "
    "The whole plan is the workflow's artifact `plan`, or: `{}`\n"
)
MARK = "<!-- smallfleet plan -->"  # by which a later plan finds the comment that it takes the place of


def render(plan: Plan, limit: int = LIMIT) -> str:
    """The comment, at most `limit` characters: cut between diffs, with where to see the rest."""
    head = f"{MARK}\n### {_text(title_of(plan))}\n\n"
    head += _errors(plan) + _table(plan) + _blast(plan) + _cloud(plan)
    command = " ".join(
        ["fleet plan", plan.inventory, plan.deploy, *(f"--limit {word}" for word in plan.limit)]
    )
    cut = CUT.format(command)
    parts = [part for droplet in plan.droplets if droplet.operations for part in _droplet(droplet)]
    said = head[: limit - len(cut)]
    for part in parts:
        if len(said) + len(part) + len(cut) > limit:
            return said + cut
        said += part
    return said


def _text(words: str) -> str:
    """Words that Markdown would take for its own, and mentions, made plain."""
    return re.sub(r"([\\`*_<>|\[\]@#])", r"\\\1", words.replace("\n", " ")).replace("\\@", "@\u200b")


def _errors(plan: Plan) -> str:
    if not plan.errors:
        return ""
    lines = "".join(f"> - **{_text(error.droplet)}**: {_text(error.reason)}\n" for error in plan.errors)
    return f"> [!CAUTION]\n> Not planned to the end:\n{lines}\n"


def _table(plan: Plan) -> str:
    if plan.empty:
        return ""
    rows = "| droplet | roles | changes | restarts, reloads |\n|---|---|---:|---|\n"
    for droplet in plan.droplets:
        effects = [
            in_words(effect)
            for operation in droplet.operations
            for effect in operation.effects
            if effect.action in ("restart", "stop", "reload", "release")
        ]
        new = "" if droplet.exists else " (new)"
        said = ", ".join(dict.fromkeys(effects)) or "–"
        cells = (
            _text(droplet.name) + new,
            _text(", ".join(droplet.roles)),
            len(droplet.operations),
            _text(said),
        )
        rows += "| " + " | ".join(map(str, cells)) + " |\n"
    return rows + "\n"


def _blast(plan: Plan) -> str:
    if plan.empty:
        return ""
    radius = plan.blast_radius
    said = "**What this touches**\n\n"
    if radius.sites:
        said += "| site | droplet | downtime | why |\n|---|---|---|---|\n"
        for site in radius.sites:
            more = f", and {len(site.why) - 3} more" if len(site.why) > 3 else ""
            why = ", ".join(site.why[:3]) + more
            said += f"| {_text(site.domain)} | {_text(site.droplet)} | {site.downtime} | {_text(why)} |\n"
        said += "\n"
    else:
        said += "No site.\n\n"
    if radius.irreversible:
        said += "Cannot be undone:\n" + "".join(f"- {_text(line)}\n" for line in radius.irreversible) + "\n"
    return said + f"Monthly cost: {_text(money(plan))}\n\n"


def _cloud(plan: Plan) -> str:
    cloud = plan.cloud
    if not plan.summary.cloud:
        return ""
    lines = [f"+ droplet {d.name} {d.size} {d.region} {d.image} ${d.monthly:.2f}" for d in cloud.droplets]
    lines += [f"{'+' if r.action == 'add' else '-'} firewall {r.direction}: {r.rule}" for r in cloud.firewall]
    for record in cloud.records:
        lines += [f"- DNS {record.name} {now}" for now in record.now]
        lines.append(f"+ DNS {record.name} A of {', '.join(record.droplets)}")
    lines += [f"+ {other}" for other in cloud.others]
    return _folded(f"the cloud: {counted(plan.summary.cloud, 'change')}", _block("\n".join(lines)))


def _droplet(droplet: Droplet) -> list[str]:
    parts = [f"\n#### {_text(droplet.name)}\n\n"]
    plain: list[str] = []
    for operation in droplet.operations:
        effects = "; ".join(in_words(effect) for effect in operation.effects)
        line = operation.name + (f": {effects}" if effects else "")
        if operation.because:
            line += f" (because of {', '.join(operation.because)})"
        if operation.diffs:
            parts.append(_folded(line, _diffs(operation)))
        else:
            plain.append(f"- {_text(line)}\n")
    if plain:
        parts.append(_folded(f"{counted(len(plain), 'change')} without a diff", "".join(plain)))
    return parts


def _diffs(operation: Operation) -> str:
    said = ""
    for diff in operation.diffs:
        if diff.hidden:
            said += f"`{diff.path}` changes; it is not shown (secret).\n\n"
        elif not diff.text:
            said += f"`{diff.path}`: owner or mode.\n\n"
        else:
            said += _block(diff.text)
    return said


def _block(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}diff\n{text}\n{fence}\n\n"


def _folded(summary: str, body: str) -> str:
    said = html.escape(summary, quote=False).replace(
        "@", "@\u200b"
    )  # Markdown's marks are plain in a summary
    return f"<details><summary>{said}</summary>\n\n{body}\n</details>\n\n"
