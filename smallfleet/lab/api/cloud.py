"""The account as a whole: its state, the parts it drives, and what runs in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import Depends, Request

from smallfleet.lab.api.errors import ApiError, not_found
from smallfleet.lab.api.faults import Faults
from smallfleet.lab.api.resolve import balancer_specs, dns_records, firewall_rules
from smallfleet.lab.api.store import Data, Store, next_id, now
from smallfleet.lab.errors import LabError
from smallfleet.lab.parts import BalancerSpec, DropletRules, Parts, Record

log = logging.getLogger(__name__)

Done = Callable[[Data, Any], None]


class Cloud:
    """State and parts. Handlers run in threads; `store` excludes them from each other."""

    def __init__(self, parts: Parts, store: Store) -> None:
        self.parts = parts
        self.store = store
        self.faults = Faults()
        self._machine_locks: dict[int, threading.Lock] = {}
        self._threads: set[threading.Thread] = set()
        self._firewall_lock = threading.Lock()
        self._balancer_lock = threading.Lock()
        self._balanced: list[BalancerSpec] = []
        self._dns_lock = threading.Lock()
        self._applied: list[DropletRules] | None = None
        self._published: tuple[list[str], list[Record]] | None = None

    # -- looking up

    @staticmethod
    def droplet(data: Data, id: int) -> dict[str, Any]:
        """The droplet; 404 if there is none."""
        try:
            return data["droplets"][str(id)]
        except KeyError:
            raise not_found() from None

    def status(self, droplet: dict[str, Any]) -> str:
        """new, active or off. A droplet that was halted from inside is off, whatever was asked for."""
        if droplet["status"] == "active" and not droplet["locked"]:
            return "active" if self.parts.machines.running(droplet["id"]) else "off"
        return droplet["status"]

    def machine_lock(self, id: int) -> threading.Lock:
        """One thing at a time is done to a machine."""
        with self.store.lock:
            return self._machine_locks.setdefault(id, threading.Lock())

    # -- actions

    def action(self, data: Data, type: str, resource: int, kind: str, region: str) -> dict[str, Any]:
        """A new action in progress; `kind` is droplet, image or reserved_ip."""
        action = {
            "id": next_id(data),
            "status": "in-progress",
            "type": type,
            "started_at": now(),
            "completed_at": None,
            "resource_id": resource,
            "resource_type": kind,
            "region_slug": region,
        }
        data["actions"][str(action["id"])] = action
        return action

    def run(self, action: dict[str, Any], work: Callable[[], Any], done: Done) -> None:
        """Do `work` to the action's droplet in the background, then `done(data, result of work)`.

        A fault of the machine makes the action "errored"; the reason goes to the lab's log, as
        DigitalOcean does not tell it either.
        """
        thread = threading.Thread(target=self._run, args=(action["id"], action["resource_id"], work, done))
        thread.name, thread.daemon = f"action {action['id']}", True
        with self.store.lock:
            self._threads.add(thread)
        thread.start()

    def _run(self, action_id: int, droplet_id: int, work: Callable[[], Any], done: Done) -> None:
        status = "completed"
        with self.machine_lock(droplet_id):
            result = None
            try:
                with self.store.read() as data:
                    # Destroyed while the action waited for its turn: a machine must not come after that.
                    gone = str(droplet_id) not in data["droplets"]
                if gone:
                    raise LabError("the droplet has been destroyed")
                result = work()
            except Exception as error:
                status = "errored"
                log.error("action %s on droplet %s: %s", action_id, droplet_id, error)
            with self.store.change() as data:
                action, droplet = data["actions"][str(action_id)], data["droplets"].get(str(droplet_id))
                if droplet is not None:
                    droplet["locked"] = False
                    if status == "completed":
                        done(data, result)
                action.update(status=status, completed_at=now())
        with self.store.lock:
            self._threads.discard(threading.current_thread())

    # -- pushing state to the parts

    def apply_firewalls(self, force: bool = False) -> None:
        """Bring the network to the firewalls' state; returns when it is enforced."""
        with self._firewall_lock:
            with self.store.read() as data:
                rules = firewall_rules(data)
            if force or rules != self._applied:
                self.parts.network.apply_firewalls(rules)
                self._applied = rules
        self.apply_balancers()  # which droplets are behind one changes with the same things: ids and tags

    def apply_balancers(self) -> bool:
        """Bring the load balancers to the account's state; False if they fail, with the reason in the log."""
        with self._balancer_lock:
            with self.store.read() as data:
                specs = balancer_specs(data)
            if specs != self._balanced:
                try:
                    self.parts.balancers.apply(specs)
                except LabError as error:
                    log.error("load balancers: %s", error)
                    return False
                self._balanced = specs
        return True

    def publish_dns(self) -> None:
        """Bring the DNS server to the domains' state; returns when it is being served."""
        with self._dns_lock:
            with self.store.read() as data:
                domains, records = dns_records(data)
            # Requests that waited together are served by the first one's publishing.
            if (domains, records) != self._published:
                self.parts.dns.publish(domains, records)
                self._published = (domains, records)

    # -- from one life of the lab to the next

    def resume(self) -> None:
        """Bring the parts to the saved state: what was on is started, what was cut off has errored."""
        with self.store.change() as data:
            for action in data["actions"].values():
                if action["status"] == "in-progress":
                    action.update(status="errored", completed_at=now())
            for droplet in data["droplets"].values():
                droplet["locked"] = False
            on = [droplet["id"] for droplet in data["droplets"].values() if droplet["status"] == "active"]
            reserved = [(ip["ip"], ip["droplet_id"]) for ip in data["reserved_ips"].values()]
            fresh = not data["firewalls"] and not data["domains"]
        if not fresh:
            self.apply_firewalls(force=True)
            self.publish_dns()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._wake, on))
        for address, droplet_id in reserved:
            if droplet_id is not None:
                self.parts.network.assign_reserved_ip(address, droplet_id)

    def _wake(self, id: int) -> None:
        try:
            if not self.parts.machines.running(id):
                self.parts.machines.start(id)
        except Exception as error:
            log.error("droplet %s did not start: %s", id, error)
            with self.store.change() as data:
                data["droplets"][str(id)]["status"] = "off"

    def close(self) -> None:
        """Wait for what is under way."""
        with self.store.lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(60)


def _cloud(request: Request) -> Cloud:
    return request.app.state.cloud


Here = Annotated[Cloud, Depends(_cloud)]


def idle(droplet: dict[str, Any]) -> None:
    """422 while another action is in progress on the droplet."""
    if droplet["locked"]:
        raise ApiError(422, "Droplet already has a pending event.")
