"""pyinfra operations of our own: what pyinfra has no operation for, in the form of pyinfra's own."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand

Commands = Generator[
    StringCommand | FileUploadCommand | FunctionCommand, None, None
]  # what an operation yields
