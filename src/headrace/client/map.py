"""Many calls at once: tasks that read requests when needed, and an iterator of their outcomes.

An item is *held* from the moment it is read until its outcome is yielded, and the number of held items is
limited. This keeps memory constant, slows the sending for a slow consumer, and limits how far an ordered map
runs ahead of its slowest call.

A call is *active* unless it waits for a retry or a rate limit. As many calls are active as the limiter has
tokens. For each waiting call another one begins, up to `MAX_HELD` times as many in all. Until a call has
succeeded, only a few others begin: all may fail for the same reason, each with several attempts.
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

from headrace._support.clock import running_clock
from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.calls import Outcome, R_co
from headrace.client.item_source import EXHAUSTED, ItemSource
from headrace.client.map_workers import MapWorkers
from headrace.errors import ClientStateError
from headrace.limiter_tokens import Limiter
from headrace.limiters import PriorityCapacityLimiter

_OUTCOMES_PER_TURN = 16
"""How many outcomes are yielded before other tasks get a turn."""


class OutcomeStream(MapWorkers, Generic[R_co]):
    """The outcomes of a map: an async context manager and iterator; see `Client.map`.

    Outcomes are yielded as calls complete, or in the order of the input. An error of the input is raised by
    the iteration, after the outcomes of the items before it. Leaving the block cancels the remaining calls.
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
        super().__init__(work, limiter, len(items) if isinstance(items, Sized) else math.inf, buffer)
        self._items = items
        self._reports_changes = isinstance(limiter, PriorityCapacityLimiter)
        self._ordered = ordered
        self._read = 0
        self._held = 0
        self._finished: deque[Outcome[R_co]] = deque()
        self._yielded = 0
        self._outcome_event: anyio.Event | None = None
        self._out_of_order: dict[int, Outcome[R_co]] = {}
        self._next_index = 0

    def __repr__(self) -> str:
        state = "not entered" if not self._opened else "over" if not self._running else "running"
        ready = len(self._finished) + len(self._out_of_order)
        return (
            f"<{type(self).__name__}: {state}, {self._read} read, {self._running} calls held, "
            f"{self._waiting_calls} of them waiting, {ready} outcomes ready>"
        )

    @property
    def limiter(self) -> Limiter:
        """Limits the calls of this map; its ``total_tokens`` can be set at any time."""
        return self._limiter

    @uninterrupted
    async def __aenter__(self) -> Self:
        self._open(self._worker)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._follow_limiter()
        return self

    def _open(self, worker: Callable[[ItemSource], Coroutine[Any, Any, None]]) -> None:
        if self._opened:
            raise ClientStateError("a map can be entered only once; call client.map again")
        self._opened = True
        self._run_worker = worker
        self._source = ItemSource(self._items)
        self._now = running_clock()
        self._context = copy_context()
        if isinstance(self._limiter, PriorityCapacityLimiter):
            self._limiter.add_callback(self._follow_limiter)

    def _close(self) -> None:
        self._source.is_over = True
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
            # A single error is raised as itself: that of the block, or a bug in a worker. If the error of the
            # block is a group, trio has made a copy of it.
            if len(group.exceptions) > 1:
                raise
            if isinstance(error, Exception):
                return
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            self._running = 0
            await self._source.aclose()

    @uninterrupted
    async def each(self, callback: Callable[[Outcome[R_co]], None]) -> None:
        """Call ``callback`` for each outcome, instead of entering the block and iterating.

        This is the fastest way for a synchronous callback: the task that made the call also calls
        ``callback``, so no other task must be woken.

        Args:
            callback: An error that it raises ends the map.

        Raises:
            Exception: An error of ``callback``; or of the input, after the outcomes of the items before it.

        Example:
            ```python
            await client.map(prompts).each(lambda outcome: print(outcome.index, outcome.ok))
            ```
        """
        if self._ordered:
            async with self:
                async for outcome in self:
                    callback(outcome)
            return
        ended, work, must_poll = False, self._work, not self._reports_changes

        async def worker(source: ItemSource) -> None:
            nonlocal ended
            next_item = source.next_item
            # There can be too many workers after a call resumes, or after the limit was lowered.
            while self._running - self._waiting_calls <= self._active:
                result = next_item()
                item = await result if source.is_async else result
                if item is EXHAUSTED:
                    break
                index = self._read
                self._read += 1
                outcome = await work(self, index, item)
                self._succeeded += outcome.error is None
                if must_poll:
                    self._follow_limiter()
                elif self._waiting_calls:
                    self._start_workers()
                if ended:
                    return
                try:
                    callback(outcome)
                except BaseException:
                    ended = True
                    raise
            self._running -= 1

        def report(outcome: Outcome[R_co]) -> None:
            nonlocal ended
            try:
                callback(outcome)
            except BaseException:
                ended = True
                raise

        async def cancellable(source: ItemSource) -> None:
            await self._run_cancellable(worker, source, report)

        self._open(cancellable)
        try:
            async with task_group() as self._group:
                self._hold_open()
                self._follow_limiter()
        finally:
            self._close()
            await self._source.aclose()
        if self._source.error is not None:
            raise self._source.error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[R_co]:
        if not await self._wait_for_outcome():
            raise StopAsyncIteration
        outcome = self._finished.popleft()
        self._held -= 1
        self._unblock_workers(1)
        return outcome

    async def batch(self) -> list[Outcome[R_co]]:
        """Wait for at least one outcome and return all that are ready; empty at the end."""
        return self.ready() if await self._wait_for_outcome() else []

    def ready(self) -> list[Outcome[R_co]]:
        """Return the outcomes that are ready, without waiting."""
        outcomes = list(self._finished)
        self._finished.clear()
        self._held -= len(outcomes)
        self._unblock_workers(len(outcomes))
        return outcomes

    async def _wait_for_outcome(self) -> bool:
        """Wait for an outcome; returns False at the end; raises the error of the input once."""
        if self._finished:
            self._yielded += 1
            if self._yielded % _OUTCOMES_PER_TURN == 0:
                await checkpoint()
        while not self._finished:
            if not self._running:
                if not self._opened:
                    raise ClientStateError("enter the map first: async with client.map(…) as outcomes")
                error, self._source.error = self._source.error, None
                if error is not None:
                    raise error
                await checkpoint()
                return False
            if self._outcome_event is None:  # otherwise another task waits for it already
                self._outcome_event = anyio.Event()
            await self._outcome_event.wait()
        return True

    async def _worker(self, source: ItemSource) -> None:
        next_item = source.next_item
        while self._running - self._waiting_calls <= self._active:
            while self._held >= self._max_held + self._waiting_calls:
                unblocked = anyio.Event()
                self._blocked_workers.append(unblocked)
                await unblocked.wait()
            self._held += 1
            result = next_item()
            item = await result if source.is_async else result
            if item is EXHAUSTED:
                self._held -= 1
                break
            index = self._read
            self._read += 1
            outcome = await self._work(self, index, item)
            self._succeeded += outcome.error is None
            if not self._reports_changes:
                self._follow_limiter()
            elif self._waiting_calls:
                self._start_workers()
            self._add_outcome(outcome)
        # Not in a finally: a consumer that is cancelled with its workers must not see them as finished.
        self._running -= 1
        self._wake_consumers()

    def _add_outcome(self, outcome: Outcome[R_co]) -> None:
        if not self._ordered:
            self._finished.append(outcome)
        else:
            self._out_of_order[outcome.index] = outcome
            while self._next_index in self._out_of_order:
                self._finished.append(self._out_of_order.pop(self._next_index))
                self._next_index += 1
        self._wake_consumers()

    def _wake_consumers(self) -> None:
        """Wake the tasks that wait for an outcome."""
        event, self._outcome_event = self._outcome_event, None
        if event is not None:
            event.set()
