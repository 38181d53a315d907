"""The servers of the simulated endpoint, which serve one attempt each, and the queue of waiting attempts."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import trio

from headrace._support.waiting_queue import Waiter, WaitingQueue


class WaitResult(Enum):
    """The result of the wait for a server."""

    SERVED = "served"
    FULL = "full"
    TOO_LATE = "too late"


class ServerPool:
    """A number of servers with a bounded queue, first in, first out.

    ``changed`` is called whenever attempts begin to wait or to be served.
    """

    def __init__(
        self, capacity: int, queue_length: int | None, timeout: float | None, changed: Callable[[], None]
    ) -> None:
        self.capacity: int = capacity
        self.busy: int = 0
        self._queue: WaitingQueue[None] = WaitingQueue()
        self._queue_length, self._timeout, self._changed = queue_length, timeout, changed

    @property
    def waiting(self) -> int:
        """Number of waiting attempts."""
        return len(self._queue)

    async def acquire(self) -> WaitResult:
        """Wait for a server; release it with `release`."""
        if self.busy < self.capacity:
            self.busy += 1
            self._changed()
            return WaitResult.SERVED
        if self._queue_length is not None and self.waiting >= self._queue_length:
            return WaitResult.FULL
        if self._timeout is None:
            await self._wait()
            return WaitResult.SERVED
        with trio.move_on_after(self._timeout) as scope:
            await self._wait()
        return WaitResult.TOO_LATE if scope.cancelled_caught else WaitResult.SERVED

    async def _wait(self) -> None:
        waiter = Waiter(None)
        self._queue.join(waiter)
        self._changed()
        try:
            await waiter.until_woken()
        except BaseException:
            self._queue.leave(waiter)
            self._changed()
            raise

    def release(self) -> None:
        """Free a server, for the first waiting attempt."""
        self.busy -= 1
        self._serve_waiting()

    def resize(self, capacity: int) -> None:
        """Change the number of servers; busy ones finish their attempts."""
        self.capacity = capacity
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        # Each server is taken here, before the waiter runs, so that a later attempt cannot overtake it.
        while self.busy < self.capacity and (waiter := self._queue.first()):
            self.busy += 1
            self._queue.serve(waiter)
        self._changed()
