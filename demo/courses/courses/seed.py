"""Put the first content into MongoDB: `python -m courses.seed`. A second run changes nothing."""

from __future__ import annotations

import os

from courses import database

ITEMS = [
    {
        "slug": "web-pages",
        "title": "Web pages from a database",
        "summary": "From a document to a page in ten lessons.",
        "text": ["From a document to a page in ten lessons.", "This page was read from MongoDB."],
    },
    {
        "slug": "sysadmin",
        "title": "Looking after a few servers",
        "summary": "Patches, backups, and sleep.",
        "text": ["Patches, backups, and sleep.", "This page was read from MongoDB."],
    },
    {
        "slug": "mongodb",
        "title": "MongoDB for small sites",
        "summary": "Documents, indexes and users.",
        "text": ["Documents, indexes and users.", "This page was read from MongoDB."],
    },
]


def main() -> None:
    collection = database(os.environ["MONGODB_URL"]).courses
    collection.create_index("slug", unique=True)
    for number, item in enumerate(ITEMS, start=1):
        # What is there stays as it is: its text may have been changed since.
        collection.update_one(
            {"slug": item["slug"]}, {"$setOnInsert": {"number": number, **item}}, upsert=True
        )


if __name__ == "__main__":
    main()
