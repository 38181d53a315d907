"""Detects an error that all later calls share, so that no more items are read. Without I/O.

    event                                                consequence
    ---------------------------------------------------  ------------------------------------------------
    a call fails with an error that others may share     its item is held; the error is suspected
    `MIN_ITEMS` different items got the same error       verdict: no more items are read
    a call that began after the first of them succeeds   the error was about its items: they are released,
                                                         and a verdict is revoked
    a call that began before that succeeds               nothing
    `max_held` items are held, without a verdict         all are released
    no call is running, without a verdict                all are released, except those with an error that
                                                         is never about one item: it becomes the verdict
    no call is running and the input is at its end       a verdict is also revoked if a call that began
                                                         before has succeeded since
    the caller's own limit is reached                    verdict, at once and final

Calls are numbered in the order in which they begin. A verdict is final once no call is running.

Calls may be of several kinds, with different models and parameters, like the steps of a job. The success of a
call says nothing about an error in a setting of another kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import attrs

from headrace.wire.error_scope import ErrorScope, SharedError

T = TypeVar("T")

MIN_ITEMS = 3
"""How many different items must fail with the same error."""

MAX_HELD = 1000
"""How many items are held without a verdict."""


@attrs.define
class _Suspicion(Generic[T]):
    """A suspected error.

    Attributes:
        error: The error.
        since: The number of calls that had begun when it first occurred.
        first: The record of the first item that failed with it.
        others_succeed: Whether a call that began earlier has succeeded since.
        items: The positions of the items that failed with it.
        held: The records of these items.
        kind: The kind of its first call.
    """

    error: SharedError
    since: int
    first: T
    kind: int = 0
    others_succeed: bool = False
    items: set[int] = attrs.field(factory=set)
    held: list[T] = attrs.field(factory=list)

    @property
    def has_enough_items(self) -> bool:
        return len(self.items) >= MIN_ITEMS or self.error.scope is ErrorScope.RUN

    @property
    def is_shared(self) -> bool:
        """Whether the error counts as shared once no running call can refute it."""
        if self.error.scope in {ErrorScope.ACCOUNT, ErrorScope.RUN}:
            return True
        return self.has_enough_items and not self.others_succeed

    def concerns(self, kind: int) -> bool:
        """Whether the success of a call of this kind says something about the error."""
        return kind == self.kind or self.error.scope is not ErrorScope.SETTING

    def is_refuted_by(self, number: int) -> bool:
        """Whether the success of the call with this number shows that the error was about its items."""
        return self.since < number and self.error.scope is not ErrorScope.RUN


@attrs.define
class Verdict(Generic[T]):
    """The shared error, and the record of the first item that failed with it."""

    error: SharedError
    first: T


class SharedErrorDetector(Generic[T]):
    """Decides from the results of calls whether to stop, and holds the records of failed items until then.

    Args:
        max_held: How many items are held without a verdict.

    Attributes:
        begun: The number of calls that have begun.
        held: The number of held records, objects of the caller's type ``T``.
        verdict: The error at which to stop; None while items may be read.
    """

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self.begun: int = 0
        self._suspicions: dict[str, _Suspicion[T]] = {}
        self.held: int = 0
        self.verdict: Verdict[T] | None = None

    def begin(self) -> int:
        """Report that a call begins; returns its number."""
        self.begun += 1
        return self.begun

    def fail(self, item: int, error: SharedError, held: T, kind: int = 0) -> list[T]:
        """Report that an item failed with an error that others may share; returns the released records."""
        suspicion = self._suspicions.get(error.key)
        if suspicion is None:
            suspicion = self._suspicions[error.key] = _Suspicion(error, self.begun, held, kind)
        if not suspicion.has_enough_items:
            suspicion.items.add(item)
        suspicion.held.append(held)
        self.held += 1
        if self.verdict is None:
            if suspicion.has_enough_items:
                self.verdict = Verdict(error, suspicion.first)
            elif self.held > self._max_held:
                return self._release()
        return []

    def succeed(self, number: int, kind: int = 0) -> list[T]:
        """Report that the call with this number succeeded; returns the released records."""
        suspicions = self._suspicions
        concerned = {key: each for key, each in suspicions.items() if each.concerns(kind)}
        refuted = [key for key, each in concerned.items() if each.is_refuted_by(number)]
        released = [held for key in refuted for held in suspicions.pop(key).held]
        if refuted:
            self.held -= len(released)
            self._set_verdict(each for each in suspicions.values() if each.has_enough_items)
        for each in concerned.values():
            each.others_succeed = True
        return released

    def settle(self, *, exhausted: bool) -> list[T]:
        """Report that no call is running; returns the released records.

        Args:
            exhausted: Whether the input is at its end as well.
        """
        if self.verdict is None or exhausted:
            suspicions = self._suspicions
            shared = [key for key, each in suspicions.items() if each.is_shared]
            self._set_verdict([suspicions.pop(key) for key in shared])
            return self._release()
        self._release()
        return []

    def forget(self) -> None:
        """Start again; the caller sends the held items again."""
        self._release()
        self.verdict = None

    def _set_verdict(self, suspicions: Iterable[_Suspicion[T]]) -> None:
        self.verdict = next((Verdict(each.error, each.first) for each in suspicions), None)

    def _release(self) -> list[T]:
        released = [held for each in self._suspicions.values() for held in each.held]
        self._suspicions.clear()
        self.held = 0
        return released
