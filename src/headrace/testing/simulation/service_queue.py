"""The queue at the simulated endpoint: servers that take one attempt each, and who waits for one."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import trio

from headrace.limiters import Waiter, WaitingQueue


class Turn(Enum):
    """What became of the wait for a server."""

    SERVED = "served"
    FULL = "full"
    TOO_LATE = "too late"


class Servers:
    """So many servers, first come, first served, and a queue of bounded length before them.

    ``changed`` is called whenever it may be that others wait, or are served.
    """

    def __init__(
        self, capacity: int, places: int | None, timeout: float | None, changed: Callable[[], None]
    ) -> None:
        self.capacity: int = capacity
        self.busy: int = 0
        self._queue: WaitingQueue[None] = WaitingQueue()
        self._places, self._timeout, self._changed = places, timeout, changed

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def take(self) -> Turn:
        """Wait for a server; one that was given has to be given back, by `give_back`."""
        if self.busy < self.capacity:
            self.busy += 1
            self._changed()
            return Turn.SERVED
        if self._places is not None and self.waiting >= self._places:
            return Turn.FULL
        if self._timeout is None:
            await self._wait()
            return Turn.SERVED
        with trio.move_on_after(self._timeout) as scope:
            await self._wait()
        return Turn.TOO_LATE if scope.cancelled_caught else Turn.SERVED

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

    def give_back(self) -> None:
        """A server is free: for the first that waits, where there is one."""
        self.busy -= 1
        self._hand_out()

    def resize(self, capacity: int) -> None:
        """Have so many servers from now on; those that work finish what they have."""
        self.capacity = capacity
        self._hand_out()

    def _hand_out(self) -> None:
        # Taken for the one that is woken, at once: nobody who comes in between may overtake it.
        while self.busy < self.capacity and (waiter := self._queue.first()):
            self.busy += 1
            self._queue.serve(waiter)
        self._changed()
