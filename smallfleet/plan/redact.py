"""Secrets in what a plan shows: there are none by construction; this takes out what would slip through."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from smallfleet.secrets.secret import MASK

SHORT = 6  # a text shorter than this stands in too many others to be taken out


class Redactor:
    """Takes secrets out of texts: as they are, in base64, and quoted as in a URL."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            for text in {secret, secret.strip(), *secret.split()}:
                if len(text) >= SHORT:
                    forms |= {
                        text,
                        quote(text, safe=""),
                        base64.b64encode(text.encode()).decode().rstrip("="),
                    }
        self._forms = sorted(forms, key=len, reverse=True)

    @classmethod
    def of(cls, fleet: Any) -> Redactor:
        """For the secrets of a fleet; none where they cannot be opened."""
        from smallfleet.errors import FleetError

        try:
            secrets = fleet.open_secrets()
            return cls([secrets[name].reveal() for name in secrets])
        except FleetError:
            return cls([])

    def holds(self, text: str) -> bool:
        return any(form in text for form in self._forms)

    def clean(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return text
