"""Put the first content into MongoDB: `python -m bytes.seed`. A second run changes nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from bytes import database

ITEMS = [
    {
        "slug": "enumerate",
        "title": "Counting with enumerate",
        "summary": "A loop and its number.",
        "text": ["A loop and its number.", "This page was read from MongoDB."],
        "published": datetime(2026, 1, 5, 6, 0, tzinfo=UTC),
    },
    {
        "slug": "pathlib",
        "title": "Paths are objects",
        "summary": "Why pathlib reads better.",
        "text": ["Why pathlib reads better.", "This page was read from MongoDB."],
        "published": datetime(2026, 2, 5, 6, 0, tzinfo=UTC),
    },
    {
        "slug": "dataclasses",
        "title": "Dataclasses",
        "summary": "Classes that hold data.",
        "text": ["Classes that hold data.", "This page was read from MongoDB."],
        "published": datetime(2026, 3, 5, 6, 0, tzinfo=UTC),
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
