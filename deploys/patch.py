"""Patch day: every droplet updated, and restarted or rebooted where it needs that, one after the other.

pyinfra inventory/prod.py deploys/patch.py            shows what it will do, asks, does it
                                            --dry     only shows it
    --data security_only=true    security updates only
    --data only=podcast,mongodb  these droplets, or those of these roles (not --limit: sites elsewhere wait)
    --data reboot=180            seconds that a droplet may take to come back
    --data maintenance=300       seconds after which a site leaves maintenance by itself, whatever happens

What others need goes last, with their sites in maintenance meanwhile; of MongoDB's set one member after the
other, the primary last, and no site is in maintenance. A droplet that shares its sites with others behind an
edge or a load balancer gets no requests in its turn. Whatever fails ends the day there; the next run goes on
from what it finds.
"""

from pyinfra import host, state

from smallfleet import patchday
from smallfleet.context import Context
from smallfleet.errors import FleetError
from smallfleet.facts.patch import PatchPlan
from smallfleet.operations import balancer, edge, maintenance, mongodb, patch

fleet = Context.of(host).fleet
security_only = bool(host.data.get("security_only"))
reboot_seconds = float(host.data.get("reboot") or 180)
only = [word for word in str(host.data.get("only") or "").split(",") if word]
day = patchday.day_of(state, fleet, only)
connected = [other.name for other in state.inventory.get_active_hosts()]

if missing := day.missing(connected):
    raise FleetError(
        f"Nothing was begun: no connection to {', '.join(missing)}, and the patch day needs them."
    )
day.settle(state)
if host.name in day.turns:
    day.report(
        host.name, host.get_fact(PatchPlan, refresh=True, security_only=security_only), expected=day.turns
    )


def goes_on() -> bool:
    """Whether nothing has failed yet, on any droplet."""
    return not state.failed_hosts


sites_here = [(app.domain, app.app.health) for app in patchday.answered_by(fleet, host.name) if app.app]
services_here = patchday.services_of(fleet, host.name)

if host.name in day.turns:
    patch.downloaded(name="Fetch the updates", plan=day.plans[host.name], security_only=security_only)
    # All of this on all droplets at once, as nothing is touched by it.
    patch.running(name="What has stopped or failed is started", services=services_here)
    patch.healthy(
        name="All works before it begins", sites=sites_here, services=services_here, seconds=30, _if=goes_on
    )

if host.name in [patchday.edge_for(fleet, turn) for turn in day.turns]:
    edge.back(
        name="What a day that was cut off left without requests gets them", droplets=day.turns, _if=goes_on
    )

for turn in host.loop(day.turns):
    mine = host.name == turn
    sites = patchday.waiting(fleet, turn, host.name)
    in_set = patchday.in_set(fleet, turn)  # other members stand in, and nobody waits
    front = patchday.edge_for(fleet, turn)
    balanced = patchday.balanced(fleet, turn)

    def touches(turn: str = turn) -> bool:
        return goes_on() and day.touches(turn)

    if mine:
        patch.comes_back(name=f"{turn} would come back from a reboot", _if=goes_on)
    if front and (mine or host.name == front):
        # For as long as a slow day may be; that it ends by itself is for a client that dies.
        edge.away(
            name=f"{turn}: its requests go to the others",
            droplet=turn if host.name == front else None,
            seconds=1800,
            _if=touches,
        )
    if balanced and mine:
        balancer.left(name=f"{turn}: its requests go to the others", leaves=True, seconds=1800, _if=touches)
    if mine:
        patch.installed(
            name=f"{turn}: install",
            plan=day.plans[turn],
            found=day.found,
            security_only=security_only,
            _if=goes_on,
        )

    def interrupts(turn: str = turn) -> bool:
        return goes_on() and day.interrupts(turn)

    if sites or (mine and not in_set):
        maintenance.on(
            name=f"Sites that need {turn} into maintenance",
            sites=sites,
            seconds=float(host.data.get("maintenance") or reboot_seconds + 120),
            reason="patch day",
            _if=interrupts,
        )
    if mine and in_set:
        mongodb.let_go(name=f"{turn}: the other members of MongoDB's set take over", _if=interrupts)
    if mine:
        patch.stopped(
            name=f"{turn}: stop what the sites wait for",
            services=services_here,
            _if=interrupts,
        )
    if mine or sites:
        # The sites look for themselves when they can come back, while the droplet is still on its way.
        patch.taken_up(
            name=f"{turn}: reboot or restart; the sites come back when they can",
            found=day.found,
            turn=goes_on if mine else None,
            services=services_here if mine else [],
            seconds=reboot_seconds,
            sites=sites,
            reason="patch day",
        )
    if mine and in_set:
        mongodb.caught_up(name=f"{turn}: it has caught up with MongoDB's set", _if=interrupts)
    if mine or host.name == day.after(turn):
        # The next droplet takes part, and so does not begin before this one is well.
        patch.healthy(
            name=f"{turn} works",
            sites=sites_here if mine else [],
            services=services_here if mine else [],
            _if=goes_on,
        )
    if front and (mine or host.name == front):
        edge.back(
            name=f"{turn}: it gets requests again", droplets=[turn] if host.name == front else [], _if=goes_on
        )
    if balanced and (mine or host.name == day.after(turn)):
        balancer.joined(name=f"{turn}: it gets requests again", joins=mine, _if=touches)
