"""Places in flight: so many calls at once, and who has to wait for one, by priority."""

from __future__ import annotations

import heapq
import itertools

import anyio


class _Waiter:
    __slots__ = ("came", "given", "left")

    def __init__(self) -> None:
        self.came = anyio.Event()
        self.given = False
        self.left = False


class Places:
    """So many places, for which those that find none wait: the highest priority first, then who came first.

    A place that is given back goes to whoever is next in the same moment, so that nobody gets in between.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: list[tuple[int, int, _Waiter]] = []
        self._number = itertools.count()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self.total - self._free

    def take_at_once(self) -> bool:
        """Take a place if one is free, which it is only where nobody waits; False where none is."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def take(self, priority: int) -> None:
        """Take a place, waiting for it."""
        if self.take_at_once():
            return
        waiter = _Waiter()
        heapq.heappush(self._waiting, (-priority, next(self._number), waiter))
        try:
            await waiter.came.wait()
        except BaseException:
            waiter.left = True
            if waiter.given:
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place back."""
        while self._waiting:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.left:
                waiter.given = True
                waiter.came.set()
                return
        self._free += 1
