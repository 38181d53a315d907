"""A capacity limiter that serves its waiters by priority."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any

from anyio import CapacityLimiterStatistics, WouldBlock
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from headrace._support.clock import on_asyncio
from headrace._support.waiting_queue import Waiter, WaitingQueue


class PriorityCapacityLimiter:
    """A capacity limiter like `anyio.CapacityLimiter` that serves its waiters by priority.

    A released token goes directly to the next waiter. The limiter belongs to one event loop; several clients
    in that loop may share it.

    Args:
        total_tokens: How many tokens can be borrowed at the same time: an integer of at least 0, or
            `math.inf`.

    Raises:
        TypeError: ``total_tokens`` is neither an integer nor `math.inf`.
        ValueError: ``total_tokens`` is negative.

    Example:
        ```python
        limiter = headrace.PriorityCapacityLimiter(100)
        async with headrace.Client(limiter=limiter) as one, headrace.Client(limiter=limiter) as other:
            limiter.total_tokens = 200
        ```
    """

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: set[Any] = set()
        self._queue: WaitingQueue[Any] = WaitingQueue()
        self._waiting: dict[Any, Waiter[Any]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._total_tokens = _validated_total(total_tokens)

    def __repr__(self) -> str:
        waiting = f", {len(self._queue)} waiting" if self._queue else ""
        return f"<{type(self).__name__}: {self.borrowed_tokens} of {self._total_tokens} borrowed{waiting}>"

    @property
    def total_tokens(self) -> float:
        """How many tokens can be borrowed at the same time.

        It can be set at any time. A higher number serves waiters at once. With a lower number, borrowers keep
        their tokens, and released tokens are lent again once fewer than the new total are borrowed.
        """
        return self._total_tokens

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        self._total_tokens = _validated_total(total)
        self._serve()
        for callback in tuple(self._callbacks):
            callback()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are borrowed now."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens are free now; negative while more are borrowed than ``total_tokens``."""
        return self._total_tokens - len(self._borrowers)

    def statistics(self) -> CapacityLimiterStatistics:
        """The borrowers, and the number of waiting tasks."""
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
        """Borrow a token; waits for one if none is free. This is always a checkpoint.

        Args:
            borrower: Any hashable object.
            priority: Waiters with a higher priority are served first (default 0).

        Raises:
            RuntimeError: The borrower has a token of this limiter already, or waits for one.
        """
        await checkpoint_if_cancelled()
        if not self.try_acquire(borrower):
            await self.wait_on_behalf_of(borrower, priority)
            return
        try:
            await cancel_shielded_checkpoint()
        except BaseException:  # raised by a debugger or a signal handler
            self.release_on_behalf_of(borrower)
            raise

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Borrow a token if one is free.

        Raises:
            anyio.WouldBlock: No token is free.
            RuntimeError: The borrower has a token of this limiter already.
        """
        if not self.try_acquire(borrower):
            self._check_is_new(borrower)
            raise WouldBlock

    def release(self) -> None:
        """Return the token of the current task; see `release_on_behalf_of`."""
        self.release_on_behalf_of(_current_task())

    def release_on_behalf_of(self, borrower: object) -> None:
        """Return a token; the next waiter gets it.

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

    # For clients: without a checkpoint if a token is free, because each of their calls has one anyway.

    def try_acquire(self, borrower: object) -> bool:
        """Borrow a token if one is free; returns whether one was.

        Raises:
            RuntimeError: The borrower has a token of this limiter already.
        """
        borrowers = self._borrowers
        borrowed = len(borrowers)
        if borrowed >= self._total_tokens:  # while a task waits, no token is free
            return False
        borrowers.add(borrower)
        if len(borrowers) == borrowed:
            self._check_is_new(borrower)
        return True

    async def wait_on_behalf_of(self, borrower: object, priority: float) -> None:
        """Wait for a token and borrow it.

        Raises:
            RuntimeError: The borrower has a token of this limiter already, or waits for one.
        """
        self._check_is_new(borrower)
        if borrower in self._waiting:
            raise RuntimeError(f"{borrower!r} already waits for a token of {self!r}")
        waiter = self._waiting[borrower] = Waiter(borrower, priority)
        try:
            await self._queue.wait(waiter, lambda: self.release_on_behalf_of(borrower))
        finally:
            self._waiting.pop(borrower, None)

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``total_tokens`` is set."""
        self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[], None]) -> None:
        """Undo `add_callback`; does nothing for a callback that was not added."""
        if callback in self._callbacks:  # `reset` removes all of them
            self._callbacks.remove(callback)

    def reset(self) -> None:
        """Forget all borrowers and waiters, because their event loop has ended."""
        self._borrowers.clear()
        self._waiting.clear()
        self._queue = WaitingQueue()
        self._callbacks.clear()

    def _check_is_new(self, borrower: object) -> None:
        if borrower in self._borrowers:
            raise RuntimeError(f"{borrower!r} already has a token of {self!r}")

    def _serve(self) -> None:
        queue, borrowers = self._queue, self._borrowers
        while queue and len(borrowers) < self._total_tokens:
            waiter = queue.first()
            assert waiter is not None
            borrowers.add(waiter.wanted)
            queue.serve(waiter)


def _validated_total(total: float) -> float:
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
