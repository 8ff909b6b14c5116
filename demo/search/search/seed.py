"""Put the first content into MongoDB: `python -m search.seed`. A second run changes nothing."""

from __future__ import annotations

import os

from search import database

ITEMS = [
    {
        "slug": "hello-droplet",
        "title": "Hello, droplet",
        "summary": "What one small machine can do in a day.",
        "text": ["What one small machine can do in a day.", "This page was read from MongoDB."],
    },
    {
        "slug": "the-feed",
        "title": "The feed that everyone asks for",
        "summary": "Why a feed is most of the load, and what to do.",
        "text": ["Why a feed is most of the load, and what to do.", "This page was read from MongoDB."],
    },
    {
        "slug": "enumerate",
        "title": "Counting with enumerate",
        "summary": "A loop and its number.",
        "text": ["A loop and its number.", "This page was read from MongoDB."],
    },
    {
        "slug": "pathlib",
        "title": "Paths are objects",
        "summary": "Why pathlib reads better.",
        "text": ["Why pathlib reads better.", "This page was read from MongoDB."],
    },
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
]


def main() -> None:
    collection = database(os.environ["MONGODB_URL"]).pages
    collection.create_index("slug", unique=True)
    collection.create_index([("title", "text"), ("summary", "text")], default_language="english")
    for number, item in enumerate(ITEMS, start=1):
        # What is there stays as it is: its text may have been changed since.
        collection.update_one(
            {"slug": item["slug"]}, {"$setOnInsert": {"number": number, **item}}, upsert=True
        )


if __name__ == "__main__":
    main()
