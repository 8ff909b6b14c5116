"""Put the first content into MongoDB: `python -m podcast.seed`. A second run changes nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from podcast import database

ITEMS = [
    {
        "slug": "hello-droplet",
        "title": "Hello, droplet",
        "summary": "What one small machine can do in a day.",
        "text": ["What one small machine can do in a day.", "This page was read from MongoDB."],
        "published": datetime(2026, 1, 5, 6, 0, tzinfo=UTC),
    },
    {
        "slug": "the-feed",
        "title": "The feed that everyone asks for",
        "summary": "Why a feed is most of the load, and what to do.",
        "text": ["Why a feed is most of the load, and what to do.", "This page was read from MongoDB."],
        "published": datetime(2026, 2, 5, 6, 0, tzinfo=UTC),
    },
    {
        "slug": "backups",
        "title": "A backup is a restore",
        "summary": "We restore a database live.",
        "text": ["We restore a database live.", "This page was read from MongoDB."],
        "published": datetime(2026, 3, 5, 6, 0, tzinfo=UTC),
    },
    {
        "slug": "patch-day",
        "title": "Patch day",
        "summary": "Rebooting every server in a month without a fuss.",
        "text": ["Rebooting every server in a month without a fuss.", "This page was read from MongoDB."],
        "published": datetime(2026, 4, 5, 6, 0, tzinfo=UTC),
    },
]


def main() -> None:
    collection = database(os.environ["MONGODB_URL"]).episodes
    collection.create_index("slug", unique=True)
    for number, item in enumerate(ITEMS, start=1):
        # What is there stays as it is: its text may have been changed since.
        collection.update_one(
            {"slug": item["slug"]}, {"$setOnInsert": {"number": number, **item}}, upsert=True
        )


if __name__ == "__main__":
    main()
