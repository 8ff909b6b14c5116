"""Serve a directory over HTTP in the lab: `python -m smallfleet.lab.fileserver ADDRESS PORT DIRECTORY`."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


def main() -> None:
    address, port, directory = sys.argv[1:4]
    app = Starlette(routes=[Mount("/", StaticFiles(directory=directory))])
    uvicorn.run(app, host=address, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
