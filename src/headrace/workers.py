"""Many calls at once: workers that draw requests lazily, and an iterator of their outcomes.

An item is held from the moment it is drawn until its outcome has been handed out, and only so many are
held at a time. That one rule keeps memory flat, slows the sending when the consumer is slow, and bounds
how far an ordered run gets ahead of its slowest call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sized
from types import TracebackType
from typing import Any, Generic, Self

import anyio

from headrace.drawing import EXHAUSTED, Drawing
from headrace.errors import ClientStateError
from headrace.groups import task_group
from headrace.model import Outcome, R_co


class Outcomes(Generic[R_co]):
    """An async context manager and iterator: outcomes of ``work(index, item)`` for each item.

    Outcomes come as they complete, or in input order with ``ordered``. At most ``workers`` items are being
    worked on, and ``workers + buffer`` are held. An error raised by the input comes out of the iteration,
    after the outcomes of all that was drawn before it. Leaving the block cancels what is under way.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        work: Callable[[int, Any], Awaitable[Outcome[R_co]]],
        *,
        workers: int,
        ordered: bool,
        buffer: int,
    ) -> None:
        self._items = items
        self._work = work
        self._workers = min(workers, max(len(items), 1)) if isinstance(items, Sized) else workers
        self._ordered = ordered
        self._most_held = self._workers + buffer
        self._opened = False
        self._drawn = 0
        self._held = 0
        self._waiting: deque[anyio.Event] = deque()
        self._finished: deque[Outcome[R_co]] = deque()
        self._news: anyio.Event | None = None
        self._early: dict[int, Outcome[R_co]] = {}
        self._next = 0
        self._running = 0

    async def __aenter__(self) -> Self:
        self._open()
        self._running = self._workers
        self._drawing = Drawing(self._items)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for _ in range(self._workers):
            self._group.start_soon(self._worker, self._drawing)
        return self

    def _open(self) -> None:
        if self._opened:
            raise ClientStateError("a map is entered once; call client.map again for another")
        self._opened = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._group.cancel_scope.cancel()
        try:
            return bool(await self._group.__aexit__(kind, error, traceback))
        except BaseExceptionGroup as group:
            # A single error surfaces as itself, be it the block's own or a bug in a worker. The block's own
            # may be a group, of which trio hands on a copy.
            if len(group.exceptions) > 1:
                raise
            if isinstance(error, Exception):
                return False
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            self._running = 0
            await self._drawing.aclose()

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
        self._open()
        drawing = Drawing(self._items)
        draw, awaited = drawing.draw, drawing.awaited
        ended = False

        async def worker() -> None:
            nonlocal ended
            while True:
                drawn = draw()
                item = await drawn if awaited else drawn
                if item is EXHAUSTED:
                    return
                index = self._drawn
                self._drawn += 1
                outcome = await self._work(index, item)
                if ended:
                    return
                try:
                    do(outcome)
                except BaseException:
                    ended = True
                    raise

        try:
            async with task_group() as group:
                for _ in range(self._workers):
                    group.start_soon(worker)
        finally:
            await drawing.aclose()
        if drawing.error is not None:
            raise drawing.error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[R_co]:
        if not await self._any_finished():
            raise StopAsyncIteration
        outcome = self._finished.popleft()
        self._make_room(1)
        return outcome

    async def batch(self) -> list[Outcome[R_co]]:
        """All outcomes that are ready, waiting for at least one; empty at the end."""
        return self.ready() if await self._any_finished() else []

    def ready(self) -> list[Outcome[R_co]]:
        """The outcomes that are ready now, without waiting."""
        outcomes = list(self._finished)
        self._finished.clear()
        self._make_room(len(outcomes))
        return outcomes

    async def _any_finished(self) -> bool:
        """Wait for an outcome; False at the end, or the input's error, raised once."""
        while not self._finished:
            if not self._running:
                if not self._opened:
                    raise ClientStateError("enter the map first: async with client.map(…) as outcomes")
                error, self._drawing.error = self._drawing.error, None
                if error is not None:
                    raise error
                return False
            if self._news is None:  # else another task waits for it, too
                self._news = anyio.Event()
            await self._news.wait()
        return True

    def _make_room(self, handed_out: int) -> None:
        self._held -= handed_out
        for _ in range(min(handed_out, len(self._waiting))):
            self._waiting.popleft().set()

    async def _worker(self, drawing: Drawing) -> None:
        draw, awaited = drawing.draw, drawing.awaited
        while True:
            while self._held >= self._most_held:
                room = anyio.Event()
                self._waiting.append(room)
                await room.wait()
            self._held += 1
            drawn = draw()
            item = await drawn if awaited else drawn
            if item is EXHAUSTED:
                break
            index = self._drawn
            self._drawn += 1
            self._hand_out(await self._work(index, item))
        # Not in a finally: to a consumer that is cancelled with its workers, they must not look done.
        self._held -= 1
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
