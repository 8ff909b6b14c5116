"""What a droplet answered, for as long as it holds; and what to ask it before pyinfra does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra.api.state import BaseStateCallback

from smallfleet.connector.shell import Question

AGE = 10.0  # seconds that an answer holds, from its arrival, while the run has changed nothing
# … or so many for each host, as pyinfra works on them in turn: half of what it takes by itself.
AGE_PER_HOST = 0.5
AGE_AFTER_CHANGE = 2.0  # and afterwards, since what was changed may go on changing (a service that starts)
AHEAD_AFTER_CHANGE = (
    4  # questions asked ahead after a change, which may be followed by another; then 8, 16, ...
)


def age_of(hosts: int) -> float:
    """Seconds that an answer holds in a run on so many hosts that has changed nothing."""
    return max(AGE, AGE_PER_HOST * hosts)


class Changes(BaseStateCallback):
    """Counts what may have changed any droplet of a run. An answer from before the last change does not hold.

    One count for all droplets, since they depend on each other: an app's release on the database's users.
    """

    def __init__(self) -> None:
        self.count = 0
        self._running: dict[tuple[int, str], Any] = {}

    # Operations may change things by functions of the owner's, which no connector sees: pyinfra knows that
    # they did something as soon as they are complete, which is before the next one starts.

    def operation_host_start(self, state: Any, host: Any, op_hash: str) -> None:  # type: ignore[override]
        self._settle()
        if op_hash in state.ops[host]:
            meta = state.get_op_data_for_host(host, op_hash).operation_meta
            self._running[(id(host), op_hash)] = meta

    def operation_end(self, state: Any, op_hash: str) -> None:  # type: ignore[override]
        self._settle()

    def _settle(self) -> None:
        for key, meta in list(self._running.items()):
            if meta.is_complete():
                del self._running[key]
                if meta.did_change() or not meta.did_succeed():
                    self.count += 1


_changes: WeakKeyDictionary[Any, Changes] = WeakKeyDictionary()


def changes_of(state: Any) -> Changes:
    """The count that all droplets of `state` share."""
    if state not in _changes:
        _changes[state] = Changes()
        state.add_callback_handler(_changes[state])
    return _changes[state]


@dataclass
class Answer:
    """A question, and when it was sent: the count of changes, and pyinfra's stage."""

    question: Question
    change: int
    stage: Any


class Memory:
    """The answers of one droplet, and the order in which the last run asked."""

    def __init__(self, changes: Changes, order: list[str], age: float = AGE) -> None:
        """`age`: seconds that an answer holds while the run has changed nothing."""
        self._changes = changes
        self._age = age
        self._order = order  # of the last run, with repetitions
        self._at = 0  # where in it this run is
        self._answers: dict[str, Answer] = {}
        self._ahead: int | None = None  # how many to ask ahead; None: all
        self._ahead_at = 0  # the count of changes at which that was set
        self._grew_old = False  # whether some did before pyinfra came to them, since then
        self._unused: set[str] = set()  # what was asked ahead last, and pyinfra has not come to
        self.asked: list[str] = []  # the order of this run

    def recall(self, command: str, stage: Any) -> Question | None:
        """The question whose answer holds (it may be under way), or None."""
        answer = self._answers.get(command)
        return answer.question if answer and self._holds(answer, stage) else None

    def keep(self, questions: list[Question], change: int, stage: Any) -> None:
        """Remember questions that were sent when the count of changes was `change`."""
        for question in questions:
            self._answers[question.command] = Answer(question, change, stage)

    def note(self, command: str) -> None:
        """`command` is asked now: the next run may ask it ahead."""
        self.asked.append(command)
        try:
            self._at = self._order.index(command, self._at) + 1
        except ValueError:
            if command in self._order:
                self._at = self._order.index(command) + 1

    def use(self, command: str, stage: Any) -> Question | None:
        """`recall`, for pyinfra, which has come to it."""
        question = self.recall(command, stage)
        if question is not None:
            self._unused.discard(command)
        return question

    def ahead(self, stage: Any, command: str | None = None) -> list[str]:
        """What to ask along with `command`, which is asked now: what came after it last time, once each."""
        if self._changes.count != self._ahead_at:
            self._ahead_at, self._ahead, self._grew_old = self._changes.count, AHEAD_AFTER_CHANGE, False
        elif self._ahead is not None:
            self._ahead = self._as_many_as_are_used(self._ahead, stage)
        following = [
            one
            for one in dict.fromkeys(self._order[self._at :])
            if one != command and self.recall(one, stage) is None
        ][: self._ahead]
        self._unused = set(following)
        return following

    def _as_many_as_are_used(self, before: int, stage: Any) -> int:
        """How many to ask ahead after `before`: what grows old among many droplets was asked for nothing."""
        old = sum(self.recall(one, stage) is None for one in self._unused)
        if old:
            self._grew_old = True
            return before - old
        return before + 1 if self._grew_old else 2 * before

    def forget(self) -> None:
        self._answers.clear()

    def _holds(self, answer: Answer, stage: Any) -> bool:
        question = answer.question
        if answer.change != self._changes.count or answer.stage != stage or question.lost:
            return False
        if not question.done:
            # Under way, and its answer will be as old as any that is waited for. To ask it again would only
            # put more into the queue of a droplet that is slow already.
            return True
        if question.status != 0:
            return False
        return time.monotonic() - question.answered < (AGE_AFTER_CHANGE if self._changes.count else self._age)
