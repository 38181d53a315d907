"""The workers of a map: tasks that make one call after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

import anyio
import anyio.abc

from headrace._support.interrupts import uninterrupted
from headrace.calls import Outcome
from headrace.client.item_source import ItemSource
from headrace.client.map_cancellation import CancelledCall, running_calls, wait_until_ended
from headrace.limiter_tokens import Limiter

MAX_HELD = 4
"""Maximum number of held calls, including waiting ones, as a multiple of the active ones."""

_INITIAL_EXTRA = 3
"""Calls that may begin in place of waiting ones before the first success; each success allows one more."""

_STARTS_PER_TURN = 64
"""How many workers start in one turn of the event loop, at most.

If 5,000 started at once, the first request would be sent only after all 5,000 were made.
"""

_LONGEST_TURN = 0.05
"""Seconds of a turn after which fewer workers start in the next one, so that other tasks get their turns."""


class MapWorkers:
    """Starts workers as the limiter allows, and cancels their calls; a base of `OutcomeStream`.

    A base, and no object of its own: the loop of a worker reads these numbers for each call.

    Args:
        work: Makes the call of an item.
        limiter: Its tokens are the number of active calls.
        size: The number of items; infinite if it is not known.
        buffer: Items that are held besides the active calls; None for as many as these.
    """

    _source: ItemSource
    _context: Context
    _group: anyio.abc.TaskGroup
    _run_worker: Callable[[ItemSource], Coroutine[Any, Any, None]]
    _now: Callable[[], float]

    def __init__(
        self,
        work: Callable[[Any, int, Any], Awaitable[Outcome[Any]]],
        limiter: Limiter,
        size: float,
        buffer: int | None,
    ) -> None:
        self._work = work
        self._limiter = limiter
        self._size = size
        self._buffer = buffer
        self._opened = False
        self._active = self._max_held = 0
        self._running = 0
        self._waiting_calls = 0
        self._succeeded = 0
        self._starts = _STARTS_PER_TURN
        self._starting = False
        self._began_starting = 0.0
        self._lacking_connection = 0
        self._blocked_workers: deque[anyio.Event] = deque()
        self._cancelled: dict[anyio.CancelScope, CancelledCall] = {}
        self._resumed: anyio.Event | None = None  # while it is paused

    def _follow_limiter(self) -> None:
        """Adapt the number of calls to that of tokens."""
        if self._resumed is not None:
            self._active = 0
            return
        self._active = max(1, int(min(self._limiter.total_tokens, self._size)))
        self._max_held = self._active + (self._active if self._buffer is None else self._buffer)
        self._start_workers()

    @uninterrupted
    def _start_workers(self) -> None:
        """Start a portion of workers; the last one of them starts more."""
        if self._starting:
            return
        last = self._running + self._starts
        while (
            not self._source.is_over
            and not self._lacking_connection
            and self._running - self._waiting_calls < self._active
            and self._running < min(MAX_HELD * self._active, self._active + _INITIAL_EXTRA + self._succeeded)
        ):
            self._running += 1
            # In the context of the map: that of the waiting call may contain a tracing span.
            run = self._run_worker if self._running < last else self._run_starting_worker
            self._context.copy().run(lambda: self._group.start_soon(run, self._source))  # noqa: B023 - at once
            if self._running == last:
                self._starting, self._began_starting = True, self._now()
                return

    async def _run_starting_worker(self, source: ItemSource) -> None:
        lasted = self._now() - self._began_starting
        self._starts = (
            max(1, self._starts // 2) if lasted > _LONGEST_TURN else min(_STARTS_PER_TURN, self._starts * 2)
        )
        self._starting = False
        self._start_workers()
        await self._run_worker(source)

    def call_waits(self) -> None:
        """A call enters a `headrace.Call.waiting` block."""
        self._waiting_calls += 1
        self._start_workers()
        self._unblock_workers(1)

    def call_resumes(self) -> None:
        """A call leaves its `headrace.Call.waiting` block."""
        self._waiting_calls -= 1

    def call_lacks_connection(self) -> None:
        """A call enters a block of `LackingConnection`; until it leaves it, no further calls begin."""
        self._lacking_connection += 1

    def call_lacks_no_connection(self, *, cancelled: bool) -> None:
        """A call leaves its block of `LackingConnection`."""
        self._lacking_connection -= 1
        if not cancelled:
            self._start_workers()

    def _unblock_workers(self, number: int) -> None:
        for _ in range(min(number, len(self._blocked_workers))):
            self._blocked_workers.popleft().set()

    async def _run_cancellable(
        self,
        worker: Callable[[ItemSource], Coroutine[Any, Any, None]],
        source: ItemSource,
        report: Callable[[Outcome[Any]], None],
    ) -> None:
        """Run a worker; `cancel` finds its scope, and continues it after a cancelled call."""
        while True:
            with anyio.CancelScope() as scope:
                await worker(source)
            cancelled = self._cancelled.pop(scope, None)
            if cancelled is None:
                return
            cancelled.ended.set()
            if scope.cancelled_caught:
                report(cancelled.outcome())
            else:  # its call had ended, and so has the worker
                self._running += 1
            await cancelled.may_continue.wait()  # a map without any worker would end

    def pause(self) -> None:
        """Begin no more calls until `resume`; only for a map that runs in `each`, or will."""
        if self._resumed is None:
            self._resumed = anyio.Event()
            if self._opened:
                self._hold_open()

    def resume(self) -> None:
        """Begin calls again at once, beside those from before the pause."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
            if self._opened and not self._source.is_over:
                self._follow_limiter()

    def _hold_open(self) -> None:
        """Keep the map from ending while it is paused, although it may have no worker."""
        if self._resumed is not None and not self._source.is_over:
            self._active = 0
            self._group.start_soon(self._resumed.wait)

    async def cancel(self, chosen: Callable[[Any], bool]) -> list[Any]:
        """Cancel the calls of chosen items that are in flight; only for a map that runs in `each`.

        Their outcomes have a `CallCancelled`. It waits until these calls have ended.

        Args:
            chosen: Whether to cancel the call of an item.

        Returns:
            The items whose calls are cancelled; one of them may have an answer even so.
        """
        if not self._opened:
            return []
        code = MapWorkers._run_cancellable.__code__
        work = self._work.func if isinstance(self._work, partial) else self._work
        found = {
            scope: call
            for scope, call in running_calls(self, code, work.__code__)
            if scope not in self._cancelled and chosen(call.item)
        }
        self._active = -1  # no worker may begin another call in a scope that is cancelled
        self._cancelled |= found
        for scope in found:
            scope.cancel()
        try:
            await wait_until_ended(found.values())
        finally:
            self._follow_limiter()
            for call in found.values():
                call.may_continue.set()
        return [call.item for call in found.values()]
