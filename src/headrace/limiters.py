"""A capacity limiter whose waiters are served by priority, and the queue that all waiters by priority use."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import anyio
from anyio import CapacityLimiterStatistics, WouldBlock
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from headrace._support.clock import on_asyncio

T = TypeVar("T")


class Waiter(Generic[T]):
    """One who waits in a `WaitingQueue`.

    Attributes:
        wanted: What it waits for, in the words of the queue's owner.
        priority: Higher ones are served first.
        served: Whether it was served, or refused with `error`.
        error: What `WaitingQueue.wait` raises.
    """

    __slots__ = ("_news", "error", "priority", "served", "wanted")

    def __init__(self, wanted: T, priority: float = 0) -> None:
        self.wanted: T = wanted
        self.priority: float = priority
        self.served: bool = False
        self.error: Exception | None = None
        self._news = anyio.Event()

    def wake(self) -> None:
        """Have it look again; see `until_woken`."""
        self._news.set()

    async def until_woken(self) -> None:
        """Wait until somebody calls `wake` or serves it."""
        await self._news.wait()
        if not self.served:
            self._news = anyio.Event()


class WaitingQueue(Generic[T]):
    """Waiters by priority, and first come, first served among equal priorities.

    Joining, leaving and serving take constant time, however many wait. A waiter that leaves, served or
    cancelled, leaves nothing behind.
    """

    def __init__(self) -> None:
        self._priorities: list[float] = []  # ascending
        self._lines: dict[float, OrderedDict[Waiter[T], None]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter[T]]:
        """The waiters in the order in which they are to be served; of a copy, so that they may leave."""
        for priority in reversed(self._priorities.copy()):
            yield from list(self._lines.get(priority, ()))

    def first(self) -> Waiter[T] | None:
        """The waiter that is to be served next."""
        return next(iter(self._lines[self._priorities[-1]])) if self._priorities else None

    def ahead_of(self, priority: float) -> int:
        """How many waiters are served before one of this priority that joins now."""
        served_before = self._priorities[bisect_left(self._priorities, priority) :]
        return sum(len(self._lines[each]) for each in served_before)

    def join(self, waiter: Waiter[T]) -> None:
        """Queue a waiter behind those of its priority."""
        line = self._lines.get(waiter.priority)
        if line is None:
            line = self._lines[waiter.priority] = OrderedDict()
            insort(self._priorities, waiter.priority)
        line[waiter] = None
        self._length += 1

    def leave(self, waiter: Waiter[T]) -> None:
        """Take a waiter out of the queue, from wherever it stands."""
        line = self._lines[waiter.priority]
        del line[waiter]
        if not line:
            del self._lines[waiter.priority]
            del self._priorities[bisect_left(self._priorities, waiter.priority)]
        self._length -= 1

    def serve(self, waiter: Waiter[T], error: Exception | None = None) -> None:
        """Take a waiter out of the queue and have it go on, or raise ``error``."""
        self.leave(waiter)
        waiter.served, waiter.error = True, error
        waiter.wake()

    async def wait(self, waiter: Waiter[T], give_back: Callable[[], None]) -> None:
        """Queue ``waiter`` until it is served.

        Args:
            waiter: It is taken out of the queue when this is cancelled.
            give_back: Called when this is cancelled after the waiter was served, so that what it was given
                can go to the next.

        Raises:
            Exception: The error that it was refused with.
        """
        self.join(waiter)
        try:
            while not waiter.served:
                await waiter.until_woken()
            # On trio a task that was woken runs on, also where it was cancelled in the same moment.
            await checkpoint_if_cancelled()
        except BaseException:
            if not waiter.served:
                self.leave(waiter)
            elif waiter.error is None:
                give_back()
            raise
        if waiter.error is not None:
            raise waiter.error


class PriorityCapacityLimiter:
    """A capacity limiter like `anyio.CapacityLimiter`, whose waiters are served by priority.

    A released token goes to the next waiter at once: nobody can take it in between. The limiter belongs to
    one event loop, and several clients of that loop may share it.

    Args:
        total_tokens: How many tokens can be borrowed at once, at least 0, or `math.inf`.

    Raises:
        TypeError: ``total_tokens`` is neither an integer nor `math.inf`.
        ValueError: ``total_tokens`` is negative.
    """

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: set[Any] = set()
        self._queue: WaitingQueue[Any] = WaitingQueue()
        self._waiting: dict[Any, Waiter[Any]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._total_tokens = _checked_total(total_tokens)

    def __repr__(self) -> str:
        waiting = f", {len(self._queue)} waiting" if self._queue else ""
        return f"<{type(self).__name__}: {self.borrowed_tokens} of {self._total_tokens} borrowed{waiting}>"

    @property
    def total_tokens(self) -> float:
        """How many tokens can be borrowed at once.

        It can be set at any time. A higher number serves waiters at once; with a lower one, borrowers keep
        what they have, and released tokens are not lent again until few enough are borrowed.
        """
        return self._total_tokens

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        self._total_tokens = _checked_total(total)
        self._serve()
        for callback in tuple(self._callbacks):
            callback()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are borrowed now."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens can be borrowed now; below 0 while more are borrowed than ``total_tokens``."""
        return self._total_tokens - len(self._borrowers)

    def statistics(self) -> CapacityLimiterStatistics:
        """The borrowers, and how many tasks wait."""
        return CapacityLimiterStatistics(
            len(self._borrowers), self._total_tokens, tuple(self._borrowers), len(self._queue)
        )

    async def acquire(self, *, priority: float = 0) -> None:
        """Borrow a token for the current task; see `acquire_on_behalf_of`."""
        await self.acquire_on_behalf_of(_current_task(), priority=priority)

    def acquire_nowait(self) -> None:
        """Borrow a token for the current task; see `acquire_on_behalf_of_nowait`."""
        self.acquire_on_behalf_of_nowait(_current_task())

    async def acquire_on_behalf_of(self, borrower: object, *, priority: float = 0) -> None:
        """Borrow a token, waiting for one if need be. This is a checkpoint in any case.

        Args:
            borrower: Who borrows it; any hashable object.
            priority: Waiters of a higher priority are served first (default 0).

        Raises:
            RuntimeError: The borrower has a token of this limiter, or waits for one.
        """
        await checkpoint_if_cancelled()
        if not self.try_acquire(borrower):
            await self.wait_on_behalf_of(borrower, priority)
            return
        try:
            await cancel_shielded_checkpoint()
        except BaseException:  # an exception that a debugger or a signal handler throws in
            self.release_on_behalf_of(borrower)
            raise

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Borrow a token if one is free.

        Raises:
            anyio.WouldBlock: No token is free.
            RuntimeError: The borrower has a token of this limiter.
        """
        if not self.try_acquire(borrower):
            self._check_is_new(borrower)
            raise WouldBlock

    def release(self) -> None:
        """Give the current task's token back; see `release_on_behalf_of`."""
        self.release_on_behalf_of(_current_task())

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give a token back, to the next waiter where there is one.

        Raises:
            RuntimeError: The borrower has no token of this limiter.
        """
        try:
            self._borrowers.remove(borrower)
        except KeyError:
            raise RuntimeError(f"{borrower!r} has no token of {self!r} to release") from None
        if self._waiting:
            self._serve()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    # What a client uses: no checkpoint where nothing is waited for, because its calls have one anyway.

    def try_acquire(self, borrower: object) -> bool:
        """Borrow a token if one is free; returns whether it was. Raises as `acquire_on_behalf_of_nowait`."""
        borrowers = self._borrowers
        borrowed = len(borrowers)
        if borrowed >= self._total_tokens:  # a token is free only while nobody waits
            return False
        borrowers.add(borrower)
        if len(borrowers) == borrowed:
            self._check_is_new(borrower)
        return True

    async def wait_on_behalf_of(self, borrower: object, priority: float) -> None:
        """Borrow a token once it is the borrower's turn."""
        self._check_is_new(borrower)
        if borrower in self._waiting:
            raise RuntimeError(f"{borrower!r} waits for a token of {self!r} already")
        waiter = self._waiting[borrower] = Waiter(borrower, priority)
        try:
            await self._queue.wait(waiter, lambda: self.release_on_behalf_of(borrower))
        finally:
            self._waiting.pop(borrower, None)

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when ``total_tokens`` is set."""
        self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[], None]) -> None:
        """End that."""
        if callback in self._callbacks:  # else its event loop has ended
            self._callbacks.remove(callback)

    def reset(self) -> None:
        """Start anew: the event loop of all borrowers and waiters has ended."""
        self._borrowers.clear()
        self._waiting.clear()
        self._queue = WaitingQueue()
        self._callbacks.clear()

    def _check_is_new(self, borrower: object) -> None:
        if borrower in self._borrowers:
            raise RuntimeError(f"{borrower!r} has a token of {self!r} already")

    def _serve(self) -> None:
        queue, borrowers = self._queue, self._borrowers
        while queue and len(borrowers) < self._total_tokens:
            waiter = queue.first()
            assert waiter is not None
            borrowers.add(waiter.wanted)
            queue.serve(waiter)


def _checked_total(total: float) -> float:
    if (not isinstance(total, int) or isinstance(total, bool)) and total != math.inf:
        raise TypeError(f"total_tokens={total!r}: must be an integer or math.inf")
    if total < 0:
        raise ValueError(f"total_tokens={total!r}: must be at least 0")
    return total


def _current_task() -> object:
    if on_asyncio():
        import asyncio

        return asyncio.current_task()
    import trio

    return trio.lowlevel.current_task()
