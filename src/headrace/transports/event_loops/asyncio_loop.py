"""asyncio's event loop, and uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import LoopCallbacks


class AsyncioLoop:
    """See `headrace.transports.event_loops.event_loop.EventLoop`."""

    def __init__(self, callbacks: LoopCallbacks) -> None:
        self._loop = asyncio.get_running_loop()
        self._send_queued = callbacks.send_queued
        self._on_timer = callbacks.on_timer
        self._timer: asyncio.TimerHandle | None = None
        self.new_waiter: Callable[[], asyncio.Future[Any]] = self._loop.create_future
        self._fileno = callbacks.fileno()
        self._loop.add_reader(self._fileno, callbacks.on_readable)

    def wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def schedule_send(self) -> None:
        self._loop.call_soon(self._send_queued)

    def set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._run_timer)

    def _run_timer(self) -> None:
        self._timer = None
        upcoming = self._on_timer()
        if upcoming is not None:
            self.set_timer(upcoming)

    async def aclose(self) -> None:
        self._loop.remove_reader(self._fileno)
        if self._timer is not None:
            self._timer.cancel()
