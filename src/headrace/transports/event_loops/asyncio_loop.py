"""asyncio's event loop, and uvloop's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller


class AsyncioLoop:
    """See `headrace.transports.event_loops.event_loop.Loop`."""

    def __init__(self, poller: Poller) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._timer: asyncio.TimerHandle | None = None
        self.new_waiter = self._loop.create_future
        self._fileno = poller.fileno()
        self._loop.add_reader(self._fileno, poller.serve)

    def wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def send_after_ready_tasks(self) -> None:
        self._loop.call_soon(self._poller.send_all)

    def alarm_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        upcoming = self._poller.ring()
        if upcoming is not None:
            self.alarm_at(upcoming)

    async def aclose(self) -> None:
        self._loop.remove_reader(self._fileno)
        if self._timer is not None:
            self._timer.cancel()
