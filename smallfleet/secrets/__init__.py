"""Secrets: an age-encrypted file beside the inventory, opened with the owner's own SSH key."""

from __future__ import annotations

from smallfleet.secrets.file import Secrets
from smallfleet.secrets.needed import generate_missing, missing_secrets, new_secret, required_secrets
from smallfleet.secrets.secret import Secret

__all__ = ["Secret", "Secrets", "generate_missing", "missing_secrets", "new_secret", "required_secrets"]
