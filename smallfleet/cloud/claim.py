"""A claim on a fleet in its account, for the time in which droplets are made: before there is any to lock.

Names of projects are unique in a DigitalOcean account, and a project costs nothing and holds nothing. So
who creates the project `smallfleet-FLEET-lock` has the claim. Its description says whose it is and changes
every few seconds; one that stays the same is a dead run's and is removed.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from types import TracebackType
from typing import Any

from smallfleet.cloud.client import Client, CloudError
from smallfleet.cloud.survey import Json, fleet_tag
from smallfleet.errors import FleetError, Taken
from smallfleet.model.fleet import Fleet

TOLD = {"id": 30, "who": 40, "command": 60, "began": 20}  # what is told of a run, and how many characters


class Claimed(Taken):
    """Another run has the claim."""

    def __init__(self, note: dict[str, Any]) -> None:
        super().__init__(f"the fleet is being created by {note.get('who', 'another run')}", note)


def beat_of(client: Client) -> tuple[float, float]:
    """Seconds between signs of life, and without one until a claim is dead."""
    return (0.5, 5) if client.end_point.startswith("http://127.") else (5, 30)


def find(client: Client, fleet: Fleet) -> list[Json]:
    """The projects that claim the fleet, the one that counts first. None for a token that may see none."""
    name = f"{fleet_tag(fleet)}-lock"
    try:
        found = [p for p in client.get("projects")["projects"] if p["name"] == name]
    except CloudError as error:
        if error.status != 403:
            raise
        return []
    return sorted(found, key=lambda p: (p["created_at"], p["id"]))


def note_in(project: Json) -> dict[str, Any]:
    try:
        return dict(json.loads(project["description"]))
    except (ValueError, TypeError):
        return {}


def is_dead(client: Client, project: Json) -> bool:
    """Whether the claim shows no sign of life. Watches it, as clocks may differ: a living one moves soon."""
    beat, dead = beat_of(client)
    end = time.monotonic() + dead
    while time.monotonic() < end:
        time.sleep(beat / 2)
        try:
            now = client.get(f"projects/{project['id']}")["project"]
        except CloudError as error:
            if error.status == 404:
                return True  # it ended by itself
            raise
        if now["description"] != project["description"]:
            return False
    return True


def clear(client: Client, fleet: Fleet) -> None:
    """Remove what dead runs left; raises Claimed if a living one has the claim."""
    for project in find(client, fleet):
        if not is_dead(client, project):
            raise Claimed(note_in(project))
        # By its id: the claim that somebody else makes meanwhile is another project.
        client.delete(f"projects/{project['id']}")


class Claim:
    """The claim, while in a `with` block. Raises Claimed if another run has it."""

    def __init__(self, client: Client, fleet: Fleet, note: dict[str, Any]) -> None:
        self._client, self._fleet = client, fleet
        self._note = {key: str(note.get(key, ""))[:length] for key, length in TOLD.items()}
        self._stop = threading.Event()
        self._id = ""
        self._lost = False

    def __enter__(self) -> Claim:
        clear(self._client, self._fleet)
        body = {
            "name": f"{fleet_tag(self._fleet)}-lock",
            "purpose": "Operational / Developer tooling",
            "description": self._description(0),
        }
        refused = ""
        try:
            self._client.make("projects", body, lambda: None)
        except CloudError as error:
            refused = str(error)
        # Whatever the answer was, what stands there now counts: the first of that name.
        standing = find(self._client, self._fleet)
        if not standing:
            raise FleetError(
                f"the fleet {self._fleet.name} cannot be claimed, so nothing is created: {refused}. "
                "The token needs the right to create projects."
            )
        if note_in(standing[0]).get("id") != self._note["id"]:
            for project in standing[1:]:
                if note_in(project).get("id") == self._note["id"]:
                    self._client.delete(f"projects/{project['id']}")
            raise Claimed(note_in(standing[0]))
        self._id = standing[0]["id"]
        self._client.guard = self.check
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(FleetError):
            self._client.delete(f"projects/{self._id}")

    def check(self) -> None:
        """FleetError if the claim was taken away."""
        if self._lost:
            raise FleetError(
                f"the claim on the fleet {self._fleet.name} was broken by somebody: stopped. "
                "What was created stays; the next run completes it."
            )

    def _description(self, beat: int) -> str:
        return json.dumps({**self._note, "beat": beat}, ensure_ascii=False, separators=(",", ":"))

    def _live(self) -> None:
        beat = 0
        while not self._stop.wait(beat_of(self._client)[0]):
            beat += 1
            try:
                self._client.patch(f"projects/{self._id}", {"description": self._description(beat)})
            except CloudError as error:
                if error.status == 404 and not self._stop.is_set():
                    self._lost = True
                    return
