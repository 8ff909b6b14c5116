"""How many droplets answer many questions at once: a large fleet's would otherwise all answer before pyinfra
has come to the first, and their answers be old before it has come to the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.lock import BoundedSemaphore

from smallfleet.connector.shell import Question

AT_ONCE = 16  # droplets: more than answer while pyinfra prepares one, however far away they are
MANY = 8  # questions
PATIENCE = 5.0  # seconds: droplets that do not answer hold the others no longer


class Pace:
    """Of one run."""

    def __init__(self, at_once: int = AT_ONCE, patience: float = PATIENCE) -> None:
        self._free = BoundedSemaphore(at_once)
        self._patience = patience

    @property
    def full(self) -> bool:
        """Whether who asks many questions now has to wait."""
        return self._free.locked()

    def ask(self, count: int, ask: Callable[[], list[Question]]) -> list[Question]:
        """What `ask` sent, of `count` questions, when few enough others are answering."""
        if count < MANY or not self._free.acquire(timeout=self._patience):
            return ask()
        questions: list[Question] = []
        try:
            questions = ask()
        finally:
            gevent.spawn(self._let_go, questions)
        return questions

    def _let_go(self, questions: list[Question]) -> None:
        for question in questions[-1:]:  # they are answered, or lost, in order
            question.wait()
        self._free.release()


_paces: WeakKeyDictionary[Any, Pace] = WeakKeyDictionary()


def pace_of(state: Any) -> Pace:
    """The pace that all droplets of `state` share."""
    return _paces.setdefault(state, Pace())
