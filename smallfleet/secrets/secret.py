"""A text that shows nowhere by itself."""

from __future__ import annotations

import hmac
from typing import Any

MASK = "(secret)"


class Secret:
    """A secret text. `reveal()` is the only way to it: str, repr, format, pickle and JSON show `(secret)`."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself. Hand it to what needs it at once, and keep it nowhere."""
        return self.__text

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__text.encode(), other.__text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Secret, (MASK,))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def to_json(self) -> str:
        """What pyinfra's JSON encoder writes for objects that have this method."""
        return MASK
