"""Put the first content into MongoDB: `python -m media.seed`. A second run changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from media import database

FRAME = bytes.fromhex("fffb9000") + bytes(413)  # one silent frame of MPEG-1 layer III: 128 kbit/s, 44.1 kHz


def content(slug: str, size: int) -> bytes:
    """`size` bytes of silent frames, the last one cut, with the title's slug where an ID3v1 tag has it."""
    tag = b"TAG" + slug.encode()[:30].ljust(125, b"\0")
    return (FRAME * (size // len(FRAME) + 1))[: size - len(tag)] + tag


ITEMS = [
    {
        "slug": "hello-droplet",
        "title": "Hello, droplet",
        "summary": "What one small machine can do in a day.",
        "text": ["What one small machine can do in a day.", "This page was read from MongoDB."],
        "file": "hello-droplet.mp3",
        "size": 3_000_000,
    },
    {
        "slug": "the-feed",
        "title": "The feed that everyone asks for",
        "summary": "Why a feed is most of the load, and what to do.",
        "text": ["Why a feed is most of the load, and what to do.", "This page was read from MongoDB."],
        "file": "the-feed.mp3",
        "size": 4_000_000,
    },
    {
        "slug": "backups",
        "title": "A backup is a restore",
        "summary": "We restore a database live.",
        "text": ["We restore a database live.", "This page was read from MongoDB."],
        "file": "backups.mp3",
        "size": 5_000_000,
    },
    {
        "slug": "patch-day",
        "title": "Patch day",
        "summary": "Rebooting every server in a month without a fuss.",
        "text": ["Rebooting every server in a month without a fuss.", "This page was read from MongoDB."],
        "file": "patch-day.mp3",
        "size": 6_000_000,
    },
]


def main() -> None:
    collection = database(os.environ["MONGODB_URL"]).recordings
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
