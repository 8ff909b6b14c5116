"""What a plan says, in words that all formats share."""

from __future__ import annotations

from pathlib import PurePosixPath

from smallfleet.plan.model import Effect, Plan

VERBS = {
    "start": "starts",
    "stop": "stops",
    "restart": "restarts",
    "reload": "reloads",
    "enable": "starts at boot:",
    "disable": "no longer starts at boot:",
    "install": "installs",
    "remove": "removes",
    "issue": "gets",
    "release": "builds, tries and switches to a release of",
    "create": "creates",
    "set": "sets",
    "begin": "begins",
    "take": "takes",
    "lock": "locks",
    "let in": "lets in",
    "delete": "deletes",
    "unhold": "no longer holds back",
    "download": "downloads",
}


# The role that a deploy serves, where it is not called like it; the rest are for the apps.
ROLES = {"firewall": "base", "tls": "nginx"}
COMPONENTS = ("base", "nginx", "uwsgi", "mongodb")


def role_of(deploy: str, roles: list[str]) -> str:
    """The role that `deploy` is for: "nginx" for deploys/tls.py; the droplet's apps for what is theirs."""
    name = PurePosixPath(deploy).stem
    name = ROLES.get(name, name)
    return name if name in roles else ", ".join(role for role in roles if role not in COMPONENTS) or "base"


def counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def title_of(plan: Plan) -> str:
    """One line: what the plan comes to."""
    summary = plan.summary
    if plan.empty:
        said = "nothing to do"
    else:
        said = f"{counted(summary.operations, 'change')} on {counted(summary.droplets, 'droplet')}"
        if summary.cloud:
            said += f", {summary.cloud} in the cloud"
    errors = f", {counted(summary.errors, 'error')}" if summary.errors else ""
    return f"{plan.deploy} on {plan.inventory}: {said}{errors}"


def in_words(effect: Effect) -> str:
    return f"{VERBS.get(effect.action, effect.action)} {effect.target}"


def money(plan: Plan) -> str:
    cloud = plan.cloud
    if not cloud.monthly_change:
        return f"unchanged (${cloud.monthly_now:.2f})"
    sign = "+" if cloud.monthly_change > 0 else "-"
    after = cloud.monthly_now + cloud.monthly_change
    return f"{sign}${abs(cloud.monthly_change):.2f} (${cloud.monthly_now:.2f} → ${after:.2f})"
