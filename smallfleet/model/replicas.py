"""MongoDB's replica set: its name, and how quickly it elects."""

from __future__ import annotations

from smallfleet.model.roles import MongodbRole

SET = "smallfleet"


def settings(role: MongodbRole) -> dict[str, int]:
    """In milliseconds. Several heartbeats have to be missed before anybody is replaced."""
    return {
        "electionTimeoutMillis": role.election_seconds * 1000,
        "heartbeatIntervalMillis": min(500, role.election_seconds * 200),
    }
