"""When an error that all later calls share ends the drawing: the rule, without I/O.

    what happens                                         what follows
    ---------------------------------------------------  ------------------------------------------------
    a call fails with an error that others may share     its item is held; the error is suspected
    the same came back for `ENOUGH` different items      the verdict: nothing more is drawn
    a call begun after the first of them succeeds        the error was about its items: they are released,
                                                         and a verdict is taken back
    a call begun before that succeeds                    nothing: it says how things were then
    `most_held` are held, and there is no verdict        all are released
    no call is left, and there is no verdict             all are released, except those with an error that
                                                         is never about an item: that is the verdict
    neither call nor item is left                        a verdict is taken back also where a call begun
                                                         before has succeeded since
    the caller's own limit is reached                    the verdict, at once and for good

The calls are numbered in the order in which they begin. A verdict stands once no call is under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import attrs

from headrace.wire.error_scope import ErrorScope, SharedError

T = TypeVar("T")

ENOUGH = 3
"""Different items that must fail in the same way."""

MOST_HELD = 1000


@attrs.define
class _Suspicion(Generic[T]):
    """An error, how many calls had begun when it first came, the first that was held, and all items.

    ``others_succeed``: a call succeeded since, though it had begun before.
    """

    error: SharedError
    since: int
    first: T
    others_succeed: bool = False
    items: set[int] = attrs.field(factory=set)
    held: list[T] = attrs.field(factory=list)

    @property
    def enough(self) -> bool:
        return len(self.items) >= ENOUGH or self.error.scope is ErrorScope.RUN

    @property
    def stands(self) -> bool:
        """Whether the error is taken to be shared where no other call will tell."""
        if self.error.scope in {ErrorScope.ACCOUNT, ErrorScope.RUN}:
            return True
        return self.enough and not self.others_succeed

    def is_refuted_by(self, number: int) -> bool:
        """Whether the success of the call of this number says that the error was about its items."""
        return self.since < number and self.error.scope is not ErrorScope.RUN


@attrs.define
class Verdict(Generic[T]):
    """The error for which nothing more is to be drawn, and what was held for the first item that got it."""

    error: SharedError
    first: T


class SharedErrorDetector(Generic[T]):
    """Told of each call, it says for which error the drawing is to stop, and which items to hold until then.

    What is held, a ``T``, is the caller's own. ``verdict`` is None as long as calls may be drawn.
    """

    def __init__(self, most_held: int = MOST_HELD) -> None:
        self._most_held = most_held
        self._begun = 0
        self._suspicions: dict[str, _Suspicion[T]] = {}
        self.held: int = 0
        self.verdict: Verdict[T] | None = None

    def begin(self) -> int:
        """A call begins; returns its number."""
        self._begun += 1
        return self._begun

    def fail(self, item: int, error: SharedError, held: T) -> list[T]:
        """The call of an item failed with an error that others may share; returns what is released."""
        suspicion = self._suspicions.get(error.key)
        if suspicion is None:
            suspicion = self._suspicions[error.key] = _Suspicion(error, self._begun, held)
        if not suspicion.enough:
            suspicion.items.add(item)
        suspicion.held.append(held)
        self.held += 1
        if self.verdict is None:
            if suspicion.enough:
                self.verdict = Verdict(error, suspicion.first)
            elif self.held > self._most_held:
                return self._release()
        return []

    def succeed(self, number: int) -> list[T]:
        """The call of this number succeeded; returns what is released, nothing where nothing is ``held``."""
        suspicions = self._suspicions
        refuted = [key for key, each in suspicions.items() if each.is_refuted_by(number)]
        released = [held for key in refuted for held in suspicions.pop(key).held]
        if refuted:
            self.held -= len(released)
            self._judge(each for each in suspicions.values() if each.enough)
        for each in suspicions.values():
            each.others_succeed = True
        return released

    def settle(self, *, exhausted: bool) -> list[T]:
        """No call is left; returns what is released. ``exhausted``: there is nothing to be drawn either."""
        if self.verdict is None or exhausted:
            suspicions = self._suspicions
            stands = [key for key, each in suspicions.items() if each.stands]
            self._judge([suspicions.pop(key) for key in stands])
            return self._release()
        self._release()
        return []

    def forget(self) -> None:
        """Begin anew; what was held is to be sent again."""
        self._release()
        self.verdict = None

    def _judge(self, suspicions: Iterable[_Suspicion[T]]) -> None:
        self.verdict = next((Verdict(each.error, each.first) for each in suspicions), None)

    def _release(self) -> list[T]:
        released = [held for each in self._suspicions.values() for held in each.held]
        self._suspicions.clear()
        self.held = 0
        return released
