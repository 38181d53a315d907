"""Many calls at once: tasks that draw requests lazily, and an iterator of their outcomes.

An item is held from the moment it is drawn until its outcome has been handed out, and only so many are
held at a time. That one rule keeps memory flat, slows the sending when the consumer is slow, and bounds
how far an ordered run gets ahead of its slowest call.

As many calls are *active* as the limiter has tokens. One that waits, for a retry or for its turn, is not: for
its time another one begins, up to `MOST_HELD` times as many in all. But while nothing has succeeded only few
begin: all may fail for the same reason, and each would cost the endpoint as many attempts as the first ones.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Sized
from contextvars import copy_context
from types import TracebackType
from typing import Any, Generic, Self

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.calls import Outcome, R_co
from headrace.client.item_source import EXHAUSTED, ItemSource
from headrace.errors import ClientStateError
from headrace.limiters import PriorityCapacityLimiter
from headrace.tokens import Limiter

MOST_HELD = 4
"""So many times as many calls as may be active are held, with those that wait."""

_AT_FIRST = 3
"""Calls that begin in place of waiting ones before any has succeeded; one more with each that does."""

_IN_A_TURN = 64
"""Workers that start in one turn of the event loop.

With 5,000 at once, the first requests would leave only when all 5,000 are made.
"""

_IN_A_ROW = 16
"""Outcomes that are handed out before the event loop gets a turn."""


class OutcomeStream(Generic[R_co]):
    """An async context manager and iterator: outcomes of ``work(stream, index, item)`` for each item.

    Outcomes come as they complete, or in input order with ``ordered``. An error raised by the input comes out
    of the iteration, after the outcomes of all that was drawn before it. Leaving the block cancels what is
    under way.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        work: Callable[[OutcomeStream[Any], int, Any], Awaitable[Outcome[R_co]]],
        *,
        limiter: Limiter,
        ordered: bool,
        buffer: int | None,
    ) -> None:
        self._items = items
        self._work = work
        self._limiter = limiter
        self._size = len(items) if isinstance(items, Sized) else math.inf
        self._tells_changes = isinstance(limiter, PriorityCapacityLimiter)
        self._active = self._room = 0
        self._ordered = ordered
        self._buffer = buffer
        self._opened = False
        self._drawn = 0
        self._held = 0
        self._running = 0
        self._waiting_calls = 0
        self._succeeded = 0
        self._without_room: deque[anyio.Event] = deque()
        self._finished: deque[Outcome[R_co]] = deque()
        self._handed_out = 0
        self._news: anyio.Event | None = None
        self._early: dict[int, Outcome[R_co]] = {}
        self._next = 0

    def __repr__(self) -> str:
        state = "not entered" if not self._opened else "over" if not self._running else "running"
        ready = len(self._finished) + len(self._early)
        return (
            f"<{type(self).__name__}: {state}, {self._drawn} drawn, {self._running} calls held, "
            f"{self._waiting_calls} of them waiting, {ready} outcomes ready>"
        )

    @uninterrupted
    async def __aenter__(self) -> Self:
        self._open(self._worker)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._follow_limiter()
        return self

    def _open(self, worker: Callable[[ItemSource], Coroutine[Any, Any, None]]) -> None:
        if self._opened:
            raise ClientStateError("a map is entered once; call client.map again for another")
        self._opened = True
        self._run_worker = worker
        self._drawing = ItemSource(self._items)
        self._context = copy_context()
        if isinstance(self._limiter, PriorityCapacityLimiter):
            self._limiter.add_callback(self._follow_limiter)

    def _close(self) -> None:
        self._drawing.over = True
        if isinstance(self._limiter, PriorityCapacityLimiter):
            self._limiter.remove_callback(self._follow_limiter)

    @uninterrupted
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # A single error surfaces as itself, be it the block's own or a bug in a worker. The block's own
            # may be a group, of which trio hands on a copy.
            if len(group.exceptions) > 1:
                raise
            if isinstance(error, Exception):
                return
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            self._running = 0
            await self._drawing.aclose()

    @uninterrupted
    async def each(self, do: Callable[[Outcome[R_co]], None]) -> None:
        """Call ``do`` for each outcome: in place of the block and the iteration, for what awaits nothing.

        It is called by the task that made the call, before it draws its next item, so that no outcome waits
        and no task is woken for one. What it raises ends the map and comes out of here; so does an error
        of the input, after the outcomes of all that was drawn before it.
        """
        if self._ordered:
            async with self:
                async for outcome in self:
                    do(outcome)
            return
        ended, work, polls = False, self._work, not self._tells_changes

        async def worker(drawing: ItemSource) -> None:
            nonlocal ended
            draw = drawing.draw
            # As long as there are not too many, which the end of a wait or a smaller limit makes.
            while self._running - self._waiting_calls <= self._active:
                drawn = draw()
                item = await drawn if drawing.awaited else drawn
                if item is EXHAUSTED:
                    break
                index = self._drawn
                self._drawn += 1
                outcome = await work(self, index, item)
                self._succeeded += outcome.error is None
                if polls:
                    self._follow_limiter()
                elif self._waiting_calls:
                    self._start_workers()
                if ended:
                    return
                try:
                    do(outcome)
                except BaseException:
                    ended = True
                    raise
            self._running -= 1

        self._open(worker)
        try:
            async with task_group() as self._group:
                self._follow_limiter()
        finally:
            self._close()
            await self._drawing.aclose()
        if self._drawing.error is not None:
            raise self._drawing.error

    # How many calls are held.

    def _follow_limiter(self) -> None:
        """See how many tokens there are now."""
        self._active = max(1, int(min(self._limiter.total_tokens, self._size)))
        self._room = self._active + (self._active if self._buffer is None else self._buffer)
        self._start_workers()

    @uninterrupted
    def _start_workers(self) -> None:
        """Start as many as may run, `_IN_A_TURN` at most; the last of these starts the next ones."""
        last = self._running + _IN_A_TURN
        while (
            not self._drawing.over
            and self._running - self._waiting_calls < self._active
            and self._running < min(MOST_HELD * self._active, self._active + _AT_FIRST + self._succeeded)
        ):
            self._running += 1
            # In the context of the map, not in that of the call that waits, which a span may be part of.
            run = self._run_worker if self._running < last else self._run_starting_worker
            self._context.copy().run(lambda: self._group.start_soon(run, self._drawing))  # noqa: B023 - at once
            if self._running == last:
                return

    async def _run_starting_worker(self, drawing: ItemSource) -> None:
        self._start_workers()
        await self._run_worker(drawing)

    def call_waits(self) -> None:
        """A call gives its token back for a time; see `headrace.Call.waiting`."""
        self._waiting_calls += 1
        self._start_workers()
        self._make_room(1)

    def call_resumes(self) -> None:
        """The time is over."""
        self._waiting_calls -= 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[R_co]:
        if not await self._any_finished():
            raise StopAsyncIteration
        outcome = self._finished.popleft()
        self._held -= 1
        self._make_room(1)
        return outcome

    async def batch(self) -> list[Outcome[R_co]]:
        """All outcomes that are ready, waiting for at least one; empty at the end."""
        return self.ready() if await self._any_finished() else []

    def ready(self) -> list[Outcome[R_co]]:
        """The outcomes that are ready now, without waiting."""
        outcomes = list(self._finished)
        self._finished.clear()
        self._held -= len(outcomes)
        self._make_room(len(outcomes))
        return outcomes

    async def _any_finished(self) -> bool:
        """Wait for an outcome; False at the end, or the input's error, raised once."""
        if self._finished:
            self._handed_out += 1
            if self._handed_out % _IN_A_ROW == 0:
                await checkpoint()
        while not self._finished:
            if not self._running:
                if not self._opened:
                    raise ClientStateError("enter the map first: async with client.map(…) as outcomes")
                error, self._drawing.error = self._drawing.error, None
                if error is not None:
                    raise error
                await checkpoint()
                return False
            if self._news is None:  # else another task waits for it, too
                self._news = anyio.Event()
            await self._news.wait()
        return True

    def _make_room(self, number: int) -> None:
        for _ in range(min(number, len(self._without_room))):
            self._without_room.popleft().set()

    async def _worker(self, drawing: ItemSource) -> None:
        draw = drawing.draw
        while self._running - self._waiting_calls <= self._active:
            while self._held >= self._room + self._waiting_calls:
                room = anyio.Event()
                self._without_room.append(room)
                await room.wait()
            self._held += 1
            drawn = draw()
            item = await drawn if drawing.awaited else drawn
            if item is EXHAUSTED:
                self._held -= 1
                break
            index = self._drawn
            self._drawn += 1
            outcome = await self._work(self, index, item)
            self._succeeded += outcome.error is None
            if not self._tells_changes:
                self._follow_limiter()
            elif self._waiting_calls:
                self._start_workers()
            self._hand_out(outcome)
        # Not in a finally: to a consumer that is cancelled with its workers, they must not look done.
        self._running -= 1
        self._tell()

    def _hand_out(self, outcome: Outcome[R_co]) -> None:
        if not self._ordered:
            self._finished.append(outcome)
        else:
            self._early[outcome.index] = outcome
            while self._next in self._early:
                self._finished.append(self._early.pop(self._next))
                self._next += 1
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for an outcome."""
        news, self._news = self._news, None
        if news is not None:
            news.set()
