"""A plan for the terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from smallfleet.plan.model import Diff, Effect, Operation, Plan
from smallfleet.plan.words import in_words, money, role_of, title_of

STYLES = {"+": "green", "-": "red", "@": "cyan"}
NOTABLE = ("restart", "stop", "reload", "release", "start")


def print_tree(plan: Plan, console: Console) -> None:
    console.print(render(plan))


def render(plan: Plan) -> RenderableType:
    parts: list[RenderableType] = [Text(title_of(plan), style="bold")]
    if plan.summary.cloud:
        parts.append(_cloud(plan))
    for droplet in plan.droplets:
        if not droplet.operations:
            continue
        new = "" if droplet.exists else "  [yellow]to be created[/yellow]"
        tree = Tree(f"[bold]{escape(droplet.name)}[/bold] ({', '.join(droplet.roles)}){new}")
        deploys: dict[str, Tree] = {}
        for operation in droplet.operations:
            deploy, _, name = operation.name.partition(" | ")
            if deploy not in deploys:
                role = role_of(deploy, droplet.roles)
                deploys[deploy] = tree.add(f"{escape(role)} [blue]{escape(deploy)}[/blue]")
            _operation(deploys[deploy], name or deploy, operation)
        parts.append(tree)
    idle = [droplet.name for droplet in plan.droplets if not droplet.operations]
    if idle:
        parts.append(Text(f"nothing to do: {', '.join(idle)}", style="dim"))
    if not plan.empty:
        parts.append(_blast(plan))
    parts += [Text(f"{error.droplet}: {error.reason}", style="red") for error in plan.errors]
    return Group(*parts)


def _cloud(plan: Plan) -> Tree:
    cloud = plan.cloud
    tree = Tree("[bold]the cloud[/bold]")
    for droplet in cloud.droplets:
        what = f"{droplet.name} {droplet.size} {droplet.region} {droplet.image}"
        tree.add(f"[green]+[/green] droplet {what}, ${droplet.monthly:.2f} a month")
    for rule in cloud.firewall:
        sign = "[green]+[/green]" if rule.action == "add" else "[red]-[/red]"
        tree.add(f"{sign} firewall, {rule.direction}: {escape(rule.rule)}")
    for record in cloud.records:
        was = f" (now {', '.join(record.now)})" if record.now else ""
        tree.add(f"[green]+[/green] DNS {record.name} → {', '.join(record.droplets)}{was}")
    for other in cloud.others:
        tree.add(f"[green]+[/green] {escape(other)}")
    return tree


def _operation(tree: Tree, name: str, operation: Operation) -> None:
    branch = tree.add(escape(name))
    for cause in operation.because:
        branch.add(f"[dim]because of: {escape(cause)}[/dim]")
    for diff in operation.diffs:
        branch.add(_diff(diff))
    for effect in operation.effects:
        branch.add(_effect(effect))


def _diff(diff: Diff) -> RenderableType:
    if diff.hidden:
        return Text(f"{diff.path}: changed, not shown (secret)", style="yellow")
    if not diff.text:
        return Text(f"{diff.path}: owner or mode", style="yellow")
    text = Text()
    for line in diff.text.splitlines():
        bold = " bold" if line.startswith(("+++", "---")) else ""
        text.append(line + "\n", style=STYLES.get(line[:1], "dim") + bold)
    text.rstrip()
    return text


def _effect(effect: Effect) -> Text:
    return Text(f"→ {in_words(effect)}", style="magenta" if effect.action in NOTABLE else "dim")


def _blast(plan: Plan) -> Tree:
    radius = plan.blast_radius
    tree = Tree("[bold]what this touches[/bold]")
    for site in radius.sites:
        style = {"none": "green", "a reload": "yellow", "seconds": "red"}[site.downtime]
        downtime = f"[{style}]{site.downtime}[/{style}] ({escape(site.why[0])})"
        tree.add(f"site {site.domain} on {site.droplet}: downtime {downtime}")
    for title, lines in (("restarts", radius.restarts), ("reloads", radius.reloads)):
        if lines:
            tree.add(f"{title}: {escape(', '.join(lines))}")
    if radius.irreversible:
        branch = tree.add("cannot be undone:")
        for line in radius.irreversible:
            branch.add(escape(line))
    tree.add(f"monthly cost: {money(plan)}")
    return tree
