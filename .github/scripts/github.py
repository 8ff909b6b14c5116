"""GitHub's API, as far as the scripts beside this file need it."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any


def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call the API on this repository; the answer. Ends the script with GitHub's words where it refuses."""
    root = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    request = urllib.request.Request(
        f"{root}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read(500).decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"{method} {path}: {error.reason}")


def every(path: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    sign = "&" if "?" in path else "?"
    for page in range(1, 100):
        part = call("GET", f"{path}{sign}per_page=100&page={page}")
        found += part
        if len(part) < 100:
            break
    return found
