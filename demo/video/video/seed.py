"""Put the first content into MongoDB: `python -m video.seed`. A second run changes nothing."""

from __future__ import annotations

import os
import random
from pathlib import Path

from video import database

# An MPEG-4 file's first box, `ftyp`: brand isom.
FTYP = (24).to_bytes(4, "big") + b"ftypisom" + (512).to_bytes(4, "big") + b"isommp42"


def content(slug: str, size: int) -> bytes:
    """`size` bytes in the boxes of an MPEG-4 file, the same ones each time; there is no picture in them."""
    body = size - len(FTYP)
    return FTYP + body.to_bytes(4, "big") + b"mdat" + random.Random(slug).randbytes(body - 8)


ITEMS = [
    {
        "slug": "web-pages",
        "title": "Web pages from a database",
        "summary": "From a document to a page in ten lessons.",
        "text": ["From a document to a page in ten lessons.", "This page was read from MongoDB."],
        "file": "web-pages.mp4",
        "size": 3_000_000,
    },
    {
        "slug": "sysadmin",
        "title": "Looking after a few servers",
        "summary": "Patches, backups, and sleep.",
        "text": ["Patches, backups, and sleep.", "This page was read from MongoDB."],
        "file": "sysadmin.mp4",
        "size": 4_000_000,
    },
    {
        "slug": "mongodb",
        "title": "MongoDB for small sites",
        "summary": "Documents, indexes and users.",
        "text": ["Documents, indexes and users.", "This page was read from MongoDB."],
        "file": "mongodb.mp4",
        "size": 5_000_000,
    },
]


def main() -> None:
    collection = database(os.environ["MONGODB_URL"]).videos
    collection.create_index("slug", unique=True)
    for number, item in enumerate(ITEMS, start=1):
        # What is there stays as it is: its text may have been changed since.
        collection.update_one(
            {"slug": item["slug"]}, {"$setOnInsert": {"number": number, **item}}, upsert=True
        )
    if "FILES_DIR" in os.environ:
        make_files(Path(os.environ["FILES_DIR"]))


def make_files(directory: Path) -> None:
    """Each file of the catalogue, where it is missing or of another size."""
    directory.mkdir(parents=True, exist_ok=True)
    for item in ITEMS:
        target = directory / item["file"]
        if target.exists() and target.stat().st_size == item["size"]:
            continue
        aside = target.with_suffix(".part")
        aside.write_bytes(content(item["slug"], item["size"]))
        aside.chmod(0o644)  # NGINX serves it, as another user
        aside.replace(target)


if __name__ == "__main__":
    main()
