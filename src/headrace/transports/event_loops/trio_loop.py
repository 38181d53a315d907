"""trio's event loop."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    from headrace.policies import BackgroundTasks
    from headrace.transports.event_loops.poller import Poller


class _Woken(outcome.Value[None]):  # type: ignore[misc]  # final for type checkers
    """What tasks that are woken get. It can be unwrapped again, unlike trio's own, so one serves all."""

    __slots__ = ()

    def unwrap(self) -> None:
        return None


_WOKEN = _Woken(None)


class TrioWaiter:
    """What a task awaits; awaited once."""

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
    """See `headrace.transports.event_loops.event_loop.Loop`.

    trio has no callbacks but tasks, and no timers but those of cancel scopes, which only a task can hold. So
    there is a background task with three children, which begin with the first stream and have ended when
    `aclose` returns.
    """

    def __init__(self, poller: Poller, group: BackgroundTasks) -> None:
        self._poller = poller
        self._fileno = poller.fileno()
        self.new_waiter = TrioWaiter
        self._mail = TrioWaiter()
        self._sleep = trio.CancelScope()
        self._whole = trio.CancelScope()
        self._over = trio.Event()
        group.start_soon(self._run, name="headrace poller")

    async def _run(self) -> None:
        try:
            with self._whole:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch)
                    nursery.start_soon(self._send)
                    nursery.start_soon(self._ring)
        finally:
            self._over.set()

    @trio.lowlevel.enable_ki_protection
    async def _watch(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._fileno)
            self._poller.serve()

    @trio.lowlevel.enable_ki_protection
    async def _send(self) -> None:
        while True:
            self._mail = TrioWaiter()
            if not self._poller.has_outgoing:
                await self._mail
            self._poller.send_all()

    @trio.lowlevel.enable_ki_protection
    async def _ring(self) -> None:
        while True:
            upcoming = self._poller.ring()
            self._sleep = trio.CancelScope(deadline=math.inf if upcoming is None else upcoming)
            with self._sleep:
                await trio.sleep_forever()

    @staticmethod
    def wake(waiter: TrioWaiter) -> None:
        task, waiter.task = waiter.task, None
        if task is not None:
            trio.lowlevel.reschedule(task, _WOKEN)

    def send_after_ready_tasks(self) -> None:
        self.wake(self._mail)

    def alarm_at(self, when: float) -> None:
        if when < self._sleep.deadline:
            self._sleep.deadline = when

    async def aclose(self) -> None:
        self._whole.cancel()
        await self._over.wait()
