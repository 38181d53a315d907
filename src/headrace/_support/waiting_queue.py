"""A queue of waiting tasks, ordered by priority and then by arrival."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

T = TypeVar("T")


class Waiter(Generic[T]):
    """A task that waits in a `WaitingQueue`.

    Attributes:
        wanted: The object of the wait, defined by the owner of the queue.
        priority: Waiters with a higher priority are served first.
        served: Whether it was served, or rejected with ``error``.
        error: The error that `WaitingQueue.wait` raises; None if the waiter was not rejected.
    """

    __slots__ = ("_news", "error", "priority", "served", "wanted")

    def __init__(self, wanted: T, priority: float = 0) -> None:
        self.wanted: T = wanted
        self.priority: float = priority
        self.served: bool = False
        self.error: Exception | None = None
        self._news = anyio.Event()

    def wake(self) -> None:
        """Let its task check its condition again; see `until_woken`."""
        self._news.set()

    async def until_woken(self) -> None:
        """Wait until another task calls `wake` or serves this waiter."""
        await self._news.wait()
        if not self.served:
            self._news = anyio.Event()


class WaitingQueue(Generic[T]):
    """Waiters by priority; those with equal priority are served in the order in which they joined.

    Joining, leaving and serving take constant time.
    """

    def __init__(self) -> None:
        self._priorities: list[float] = []  # ascending
        self._lines: dict[float, OrderedDict[Waiter[T], None]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter[T]]:
        """Iterate over a copy of the waiters, next one first."""
        for priority in reversed(self._priorities.copy()):
            yield from list(self._lines.get(priority, ()))

    def first(self) -> Waiter[T] | None:
        """The waiter that is next; None if the queue is empty."""
        return next(iter(self._lines[self._priorities[-1]])) if self._priorities else None

    def ahead_of(self, priority: float) -> int:
        """How many waiters would be served before a new one with this priority."""
        served_before = self._priorities[bisect_left(self._priorities, priority) :]
        return sum(len(self._lines[each]) for each in served_before)

    def join(self, waiter: Waiter[T]) -> None:
        """Add a waiter after those with the same priority."""
        line = self._lines.get(waiter.priority)
        if line is None:
            line = self._lines[waiter.priority] = OrderedDict()
            insort(self._priorities, waiter.priority)
        line[waiter] = None
        self._length += 1

    def leave(self, waiter: Waiter[T]) -> None:
        """Remove a waiter from any position of the queue."""
        line = self._lines[waiter.priority]
        del line[waiter]
        if not line:
            del self._lines[waiter.priority]
            del self._priorities[bisect_left(self._priorities, waiter.priority)]
        self._length -= 1

    def serve(self, waiter: Waiter[T], error: Exception | None = None) -> None:
        """Remove a waiter from the queue and let its task continue, or raise ``error`` there."""
        self.leave(waiter)
        waiter.served, waiter.error = True, error
        waiter.wake()

    async def wait(self, waiter: Waiter[T], give_back: Callable[[], None]) -> None:
        """Add ``waiter`` and wait until it is served.

        Args:
            waiter: Removed from the queue if this call is cancelled.
            give_back: Called if this call is cancelled after the waiter was served; must release what it
                received.

        Raises:
            Exception: The error that the waiter was rejected with.
        """
        self.join(waiter)
        try:
            while not waiter.served:
                await waiter.until_woken()
            # On trio, a woken task continues even if it was cancelled at the same moment.
            await checkpoint_if_cancelled()
        except BaseException:
            if not waiter.served:
                self.leave(waiter)
            elif waiter.error is None:
                give_back()
            raise
        if waiter.error is not None:
            raise waiter.error
