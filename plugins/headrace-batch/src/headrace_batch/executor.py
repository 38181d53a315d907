"""The executor: rows into parts, parts through their batches, results into the run."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Set

import anyio
import anyio.abc
import anyio.lowlevel

from headrace import HeadraceError, RunDetached
from headrace.bulk import ResultHandler, WorkItem
from headrace.plugins import format_count, task_group
from headrace_batch.live_parts import batches, describe_going_on, describe_left, describe_progress
from headrace_batch.merging import PartMerger
from headrace_batch.one_error import one_error
from headrace_batch.part import Part
from headrace_batch.part_builder import PartBuilder
from headrace_batch.part_driver import PartDriver
from headrace_batch.part_schedule import PartSchedule
from headrace_batch.part_settling import PartSettling
from headrace_batch.part_steps import BatchMissing
from headrace_batch.recovery import settle_ended
from headrace_batch.row_placing import ROWS_PER_TURN, RowPlacing
from headrace_batch.session import BatchSession

_MOST_UNSENT = 3
"""Parts that wait on this disk for their upload; drawing rows pauses while there are more."""

_LOOK_AT_CLOCK = 60.0
"""Seconds after which the clock is read again."""


class BatchExecutor:
    """An `Executor` over the batches of an endpoint.

    Args:
        session: The session.
    """

    def __init__(self, session: BatchSession) -> None:
        self._session = session
        self._setup = session.setup
        self._options = session.options
        self._ledger = session.ledger
        self._signals = session.signals
        self._unsent = anyio.Semaphore(_MOST_UNSENT)
        self._schedule = PartSchedule(session.options.poll, session.signals.finishing.is_set)
        self._takes_rows = False
        self._drawn_again = 0

    @property
    def in_flight(self) -> int:
        """The number of rows that are at the endpoint."""
        return sum(part.outstanding for part in self._live())

    @property
    def status(self) -> str:
        """How many batches there are, how far they are, and what the session does with them."""
        return describe_progress(self._ledger.parts.values())

    @property
    def going_on(self) -> str:
        """What goes on without this process, and how to continue."""
        return describe_left(self._ledger.parts.values(), self._setup.out)

    def _live(self) -> list[Part]:
        return [part for part in self._ledger.parts.values() if part.at_endpoint]

    def stop(self) -> None:
        """Leave the batches to themselves."""
        self._signals.stopping.set()
        self._schedule.note_change()

    async def cancel_parked(self, ids: Set[str]) -> tuple[set[str], set[str]]:
        """Let the rows of parts with these ids fail; see `CancelledRows.add`."""
        return await self._session.cancelled.add(ids)

    def pause(self) -> None:
        """Make no new batches; those at the endpoint go on, and their results are fetched."""
        self._signals.paused = True

    def resume(self) -> None:
        """Make batches again."""
        self._signals.resume()

    def draw_again(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        """Draw these rows, too, and send them in new batches; if the work is ending, in the next pass."""
        if self._takes_rows:
            self._drawn_again += 1
            self._group.start_soon(self._draw_again, items)

    async def _draw_again(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        await self._draw(items)
        self._drawn_again -= 1
        self._schedule.note_change()

    async def work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        session, self._handle = self._session, handle
        merger = PartMerger(session, handle)
        self._settling = PartSettling(session, merger)
        self._driver = PartDriver(session, merger, self._settling)
        self._builder = PartBuilder(session.ledger, session.options, session.rows, self._planned)
        self._placing = RowPlacing(session, self._builder, handle)
        try:
            async with one_error(self._ledger.folder), task_group() as group:
                if session.finish_at is not None:
                    group.start_soon(self._finish_at, session.finish_at)
                await self._work(items)
                group.cancel_scope.cancel()
        except HeadraceError as error:
            if self._live() and not isinstance(error, (RunDetached, BatchMissing)):
                going_on = describe_going_on(self._ledger.parts.values())
                self._setup.notify(f"{going_on} Run the same command again when this is mended:")
            raise
        finally:
            self._builder.discard()

    async def _work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        async with task_group() as group:
            self._group, self._items, self._all_drawn = group, items, False
            self._drawing = anyio.CancelScope()
            if self._setup.calls != "single":
                items.when_waiting = self._schedule.note_change  # type: ignore[union-attr]  # a `CallFeed`
            group.start_soon(self._draw_all, items)
            self._takes_rows, self._drawn_again = True, 0
            try:
                await self._follow()
            finally:
                self._takes_rows = False
        await settle_ended(self._ledger, self._session.open_rows, self._setup.sync)
        if not self._signals.stopping.is_set():
            self._session.lost.check()
        if self._live() and (self._signals.stopping.is_set() or self._options.detach):
            raise RunDetached(self.going_on, interrupted=self._signals.stopping.is_set())
        self._tell_of_kept_parts()

    def _tell_of_kept_parts(self) -> None:
        """Say why a run has batches that nobody waits for."""
        kept, undone = self._live(), self._session.open_rows.undone
        rows = sum(undone.get(part.number, 0) - part.drawn for part in kept)
        if kept:
            have = "has" if len(kept) == 1 else "have"
            self._setup.notify(
                f"{batches(len(kept))} {have} {format_count(rows, 'row')} that "
                "this session does not have; a session that has them gets the results. Until then, a session "
                "without the engine batch is refused, unless it keeps what is done (keep_done, --keep-done)."
            )

    async def _follow(self) -> None:
        """Send what was drawn, until nothing is left to send and to wait for, or the session leaves."""
        while not self._signals.stopping.is_set():
            change, seconds = self._schedule.next_change(), math.inf
            if self._no_row_comes:
                self._start_resumed()
                await self._send_left()
            if self._no_row_comes:
                unsent = self._builder.has_open or self._settling.has_left or self._placing.has_rows_at_once
                if self._schedule.is_idle and not unsent:
                    self._drawing.cancel()  # of a session that detaches: rows come after results only
                    return
                seconds = self._schedule.seconds_left() if self._builder.has_open else math.inf
            if seconds == 0:
                await self._builder.finish()
            else:
                with anyio.move_on_after(seconds):
                    await change.wait()

    @property
    def _no_row_comes(self) -> bool:
        """Whether no row comes before further results."""
        return not self._drawn_again and (self._all_drawn or getattr(self._items, "is_waiting", False))

    def _start_resumed(self) -> None:
        """Follow the parts of earlier sessions; only now is it known which of their rows were drawn."""
        resumed, open_rows = self._session.take_resumed(), self._session.open_rows
        if resumed:
            for text in open_rows.adopted.describe(open_rows.done):
                self._setup.notify(text)
        for part in resumed:
            self._start(part, functools.partial(self._driver.drive_resumed, part))

    async def _send_left(self) -> None:
        """Send the rows that batches did not finish, and those that no batch can have."""
        left = self._settling.take_left()
        if not self._session.sends_at_once:
            await self._placing.place_again(left)
        elif left or self._placing.has_rows_at_once:
            items = self._placing.take_at_once(left)
            self._start(None, functools.partial(self._setup.call, items, self._handle))

    def _start(self, part: Part | None, work: Callable[[], Awaitable[None]]) -> None:
        async def do() -> None:
            try:
                await work()
            finally:
                self._schedule.end(part)

        self._schedule.begin(part)
        self._group.start_soon(do)

    async def _draw_all(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        with self._drawing:
            await self._draw(items)
        self._all_drawn = True
        self._schedule.note_change()

    async def _draw(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        if isinstance(items, AsyncIterator):
            async for item in items:
                await self._placing.place(item)
            return
        for number, item in enumerate(items):
            await self._placing.place(item)
            if number % ROWS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()

    async def _planned(self, part: Part) -> None:
        if self._setup.calls != "single":
            await self._setup.sync()  # a row must not go back to an earlier call when it has a later one
        await self._unsent.acquire()
        self._start(part, functools.partial(self._driver.drive_new, part, self._unsent))

    async def _finish_at(self, end: datetime.datetime) -> None:
        start, seconds = anyio.current_time(), _seconds_until(end)
        # The clock of the event loop stands still while the machine sleeps.
        while (left := min(start + seconds - anyio.current_time(), _seconds_until(end))) > 0:  # noqa: ASYNC110 - no event
            await anyio.sleep(min(left, _LOOK_AT_CLOCK))
        passed = f" (it was {end.astimezone():%H:%M} on {end.astimezone():%d %B})" if seconds < 0 else ""
        self._setup.notify(
            f"It is time to finish{passed}: the batches are cancelled, and the rest is sent at once."
        )
        self._signals.finishing.set()
        self._schedule.note_change()


def _seconds_until(end: datetime.datetime) -> float:
    return (end - datetime.datetime.now(datetime.UTC)).total_seconds()
