"""trio's event loop."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    from headrace.policies import BackgroundTasks
    from headrace.transports.event_loops.event_loop import LoopCallbacks


class _Woken(outcome.Value[None]):  # type: ignore[misc]  # final for type checkers
    """The result of a wait. Unlike trio's own, it can be unwrapped many times, so one object is enough."""

    __slots__ = ()

    def unwrap(self) -> None:
        return None


_WOKEN = _Woken(None)


class TrioWaiter:
    """An object that a task awaits, once."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        self.task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105 - awaited by the caller

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED


class TrioLoop:
    """See `headrace.transports.event_loops.event_loop.EventLoop`.

    trio's only callbacks are tasks, and its only timers belong to cancel scopes, which only a task can hold.
    So one background task has three children. They start with the first connection and have ended when
    `aclose` returns.
    """

    def __init__(self, callbacks: LoopCallbacks, group: BackgroundTasks) -> None:
        self._fileno = callbacks.fileno()
        self._on_readable = callbacks.on_readable
        self._on_timer = callbacks.on_timer
        self._send_queued = callbacks.send_queued
        self._has_queued = callbacks.has_queued
        self.new_waiter = TrioWaiter
        self._send_waiter = TrioWaiter()
        self._sleep = trio.CancelScope()
        self._scope = trio.CancelScope()
        self._finished = trio.Event()
        group.start_soon(self._run, name="headrace poller")

    async def _run(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch)
                    nursery.start_soon(self._send)
                    nursery.start_soon(self._run_timers)
        finally:
            self._finished.set()

    @trio.lowlevel.enable_ki_protection
    async def _watch(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._fileno)
            self._on_readable()

    @trio.lowlevel.enable_ki_protection
    async def _send(self) -> None:
        while True:
            self._send_waiter = TrioWaiter()
            if not self._has_queued():
                await self._send_waiter
            self._send_queued()

    @trio.lowlevel.enable_ki_protection
    async def _run_timers(self) -> None:
        while True:
            upcoming = self._on_timer()
            self._sleep = trio.CancelScope(deadline=math.inf if upcoming is None else upcoming)
            with self._sleep:
                await trio.sleep_forever()

    @staticmethod
    def wake(waiter: TrioWaiter) -> None:
        task, waiter.task = waiter.task, None
        if task is not None:
            trio.lowlevel.reschedule(task, _WOKEN)

    def schedule_send(self) -> None:
        self.wake(self._send_waiter)

    def set_timer(self, when: float) -> None:
        if when < self._sleep.deadline:
            self._sleep.deadline = when

    async def aclose(self) -> None:
        self._scope.cancel()
        await self._finished.wait()
