"""One session of a bulk run: items to an executor, results into the journal."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from typing import cast

import anyio
from anyio.lowlevel import checkpoint

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.call_feed import CallFeed
from headrace.bulk.cancellation import Cancellation, cancel_items
from headrace.bulk.chosen_items import ChosenItems
from headrace.bulk.drawing_gate import DrawingGate
from headrace.bulk.drawn_items import DrawnItems
from headrace.bulk.executor import Executor
from headrace.bulk.hung_calls import drop_hung_calls
from headrace.bulk.input_check import InputCheck
from headrace.bulk.item_feed import ItemFeed
from headrace.bulk.item_result import ItemResult
from headrace.bulk.journal import Journal
from headrace.bulk.pending_results import PendingResults
from headrace.bulk.result_store import ResultStore
from headrace.bulk.retried_failures import check_can_retry, failed_so_far, remove_failed
from headrace.bulk.row_calls import RowCalls, SingleCall
from headrace.bulk.run_task import CallTask, RunTask
from headrace.bulk.sources import Source
from headrace.bulk.summary import Summary
from headrace.errors import DeadlineExceeded, InputError, JournalError, RunDetached, WorkerLost

_log = logging.getLogger("headrace")

_SYNC_INTERVAL = 1.0
"""Seconds between two syncs of the journal to the disk."""

WAIT_FOR_ENDPOINT = 600.0
"""Seconds that a run waits for an endpoint without a success; the default."""

_CHECK_INTERVAL, _CHECK_TIME = 0.01, 0.002
"""Seconds between two parts of the check, and seconds of one part. Calls wait for a part to end."""

_CATCH_UP_TIME = 0.05
"""Seconds of the check between two passes: rows that need no call are drawn as fast as they are checked."""

_SHORTEST_PAUSE = 0.5
"""Seconds. A half-open circuit that makes its probes asks for a wait of 0."""

PAUSED = "paused"
"""What a run waits for while it is paused."""

_FIRST_BACKOFF, _LONGEST_BACKOFF = 2.0, 60.0
"""Seconds of a pause for which the endpoint gave no length; doubled each time until a call succeeds."""


class BulkRun:
    """One session of a run: sends the items that are not in the journal, and writes their results.

    The input is read once. While the endpoint's circuit is open, no item is drawn. Items that the circuit
    rejected, or that failed because the endpoint was down, are sent when it closes. The run also waits if a
    thousand items in a row get no answer, even without a circuit.

    An error that all later calls share (no credit left, a rejected key, an unknown model) stops the run and
    leaves its items unsent; see `SharedErrorDetector`. If that error is a rate limit, the run waits and
    continues.

    A change of the input ends the session: no changed row is sent, and finished items stay finished.

    Args:
        task: Makes the request for each item.
        journal: Where results are stored.
        total: The number of items in the input, or the check that counts them. The rest of the check is made
            beside the sending; an error that it finds stops the run.
        wait_for_endpoint: Seconds to wait without a success before the session ends.
        deadline: Seconds from the start after which the session ends and drops the calls in flight; None for
            no deadline.
        summary: The totals to update; None for new ones.
        notify: Called with a line of text while a stop waits for calls; by default it is logged as a warning.
        calls: Decides which calls a row needs; None for one call per row.

    Attributes:
        drawn: The items that were drawn and are not finished.
        summary: The totals, updated during the run.
        on_stored: Called after results were written.
        on_replaced: Called after the output was replaced by one without the lines of failed items.
        ended: Whether `perform` has returned.
    """

    def __init__(
        self,
        task: RunTask,
        journal: ResultStore,
        total: int | InputCheck,
        *,
        wait_for_endpoint: float = WAIT_FOR_ENDPOINT,
        deadline: float | None = None,
        summary: Summary | None = None,
        notify: Callable[[str], None] = _log.warning,
        calls: RowCalls | None = None,
    ) -> None:
        self._task = task
        self._notify = notify
        self._journal = journal
        self._wait_for_endpoint = wait_for_endpoint
        self._deadline = deadline
        self._gate = DrawingGate()
        self._executor: Executor | None = None
        self._started: float | None = None
        self.ended: bool = False
        self._pending = PendingResults()
        self._check = total if isinstance(total, InputCheck) else None
        if calls is None:
            calls = SingleCall(cast(CallTask, task), journal)
        self._calls = calls
        self.drawn: DrawnItems = DrawnItems()
        self._feed: ItemFeed = self._new_feed()
        self.summary: Summary = Summary(0) if summary is None else summary
        self.summary.total = total if isinstance(total, int) else 0
        self.on_stored: Callable[[], None] = lambda: None
        self.on_replaced: Callable[[], None] = lambda: None
        self._count()

    def _new_feed(self) -> ItemFeed:
        source, gate = self._task.source, self._gate
        arguments = (source, self._calls, self._journal, self._pending, gate, self._check, self.drawn)
        if self._calls.is_single:
            return ItemFeed(*arguments)
        return CallFeed(*arguments, finish=self._finish)

    def attach(self, executor: Executor) -> None:
        """Name the executor before `perform` gets it, so that the run can be changed before it begins."""
        self._executor = executor

    def stop(self) -> None:
        """Draw no more items; `perform` returns when those in flight are finished and written.

        After 30 s it reports the calls that it still waits for. It then drops calls that hang in a policy,
        once no attempt is on the wire; their items are left unsent.
        """
        self.summary.stopped_by = self.summary.stopped_by or "interrupt"
        self.summary.waiting = ""
        self._gate.stop()

    def pause(self) -> None:
        """Draw no more items until `resume` or `stop`; those in flight are finished and written.

        An executor with methods ``pause`` and ``resume`` decides itself what it still sends.
        """
        pause = getattr(self._executor, "pause", None)
        self._gate.pause(close=pause is None)
        self.summary.waiting = PAUSED
        if pause is not None:
            pause()

    def resume(self) -> None:
        """Draw items again. If calls that began before the pause are in flight, they are finished first."""
        self._gate.resume()
        self.summary.waiting = ""
        resume = getattr(self._executor, "resume", None)
        if resume is not None:
            resume()

    async def cancel(self, ids: Collection[str]) -> Cancellation:
        """Let items fail that are in flight, or were not sent yet; see `Cancellation`.

        The executor must be attached.
        """
        assert self._executor is not None
        return await cancel_items(ids, self._feed, self._executor, self._journal, self._check)

    def retry_failed(self) -> int:
        """Send the failed items again in this session, once the calls in flight are finished.

        Returns:
            How many items have failed so far.

        Raises:
            ControlRefused: It is not possible in this run.
        """
        check_can_retry(self._journal, self._calls, self._check, hasattr(self._executor, "stop"))
        if number := failed_so_far(self.summary):
            self._gate.interrupt()
        return number

    @property
    def paused(self) -> bool:
        """Whether the run is paused."""
        return self._gate.paused

    @property
    def stopping(self) -> bool:
        """Whether the run draws no more items, because it was stopped or for an error of the input."""
        return self._gate.stopping.is_set()

    @property
    def elapsed(self) -> float:
        """Seconds since the session began."""
        if self._started is None or self.ended:
            return self.summary.elapsed
        return anyio.current_time() - self._started

    @uninterrupted
    async def perform(self, executor: Executor) -> Summary:
        """Send the remaining items.

        Raises:
            JournalError: A result cannot be written.
        """
        summary, started = self.summary, anyio.current_time()
        self._executor, self._started = executor, started
        try:
            with anyio.move_on_after(self._deadline) as scope:
                async with task_group() as group:
                    group.start_soon(self._check_rest)
                    await self._make_passes(executor, started)
                    group.cancel_scope.cancel()
                if summary.stopped_by is None:  # drawing may have skipped done items faster than the check
                    self._advance(math.inf)
            if scope.cancelled_caught:
                summary.stopped_by = DeadlineExceeded(f"the run's deadline of {self._deadline:g} s passed")
            if summary.stopped_by is None:
                self._check_input()
        except (WorkerLost, RunDetached) as error:
            summary.stopped_by = error
        finally:
            summary.elapsed = anyio.current_time() - started
            self.ended = True
            self._count()
            await self._sync()
        return summary

    async def _check_rest(self) -> None:
        """Check the rest of the input beside the sending."""
        while self._check is not None and self._check.reads_ahead and not self._check.finished:
            await anyio.sleep(_CHECK_INTERVAL)
            await self._check.fetch()
            self._advance(_CHECK_TIME, only_fetched=True)

    def _advance(self, seconds: float, *, only_fetched: bool = False) -> None:
        if self._check is None:
            return
        try:
            self._check.advance(seconds, only_fetched=only_fetched)
        except InputError as error:
            self.summary.stopped_by = self.summary.stopped_by or error
            self._gate.stop()
        self._count()

    def _count(self) -> None:
        check, summary = self._check, self.summary
        if check is not None:
            summary.total, summary.counted = check.total, check.finished
            summary.done_before, summary.failed_before = check.done, check.failed

    def _check_input(self) -> None:
        """Notice a change of the input that came after its last row was read."""
        source = self._task.source
        if isinstance(source, Source | ChosenItems):
            try:
                source.check_unchanged()
            except InputError as error:
                self.summary.stopped_by = error

    async def _make_passes(self, executor: Executor, started: float) -> None:
        """Draw items until nothing is left, and wait for the endpoint in between."""
        summary, pending = self.summary, self._pending
        waited_since, succeeded, backoff = started, 0, _FIRST_BACKOFF
        while True:
            if await self._gate.wait_while_paused():
                waited_since = anyio.current_time()
            if self._gate.interrupted and not self.stopping:
                await self._begin_again()
            await self._make_pass(executor, started)
            if summary.succeeded > succeeded:
                waited_since, succeeded, backoff = anyio.current_time(), summary.succeeded, _FIRST_BACKOFF
            if self._gate.stopping.is_set():
                return
            if pending.ended_by is not None:
                summary.stopped_by = pending.ended_by
                return
            pause, pending.pause = pending.pause, None
            if pause is None:
                if not self._feed.has_more and not self._gate.interrupted:
                    return
                self._advance(_CATCH_UP_TIME)
                continue  # the error concerned these items only, or many rows needed no call
            left = waited_since + self._wait_for_endpoint - anyio.current_time()
            seconds = min(backoff, left) if pause.seconds is None else pause.seconds
            backoff = min(2 * backoff, _LONGEST_BACKOFF)
            if seconds > left or left <= 0:
                summary.stopped_by = pause.error
                return
            summary.waiting = pause.reason or str(pause.error)
            with anyio.move_on_after(max(seconds, _SHORTEST_PAUSE)):
                await self._gate.stopping.wait()
            summary.waiting = PAUSED if self.paused else ""

    async def _begin_again(self) -> None:
        """Remove the lines of failed items, and draw from the beginning of the input what is not done."""
        assert isinstance(self._journal, Journal)
        assert self._check is not None
        while not self._check.finished and not self.stopping:
            await self._check.fetch()
            self._advance(_CATCH_UP_TIME, only_fetched=True)
            await checkpoint()
        if self.stopping:  # the input is not valid
            return
        try:
            if await remove_failed(self._journal, self._check, self.summary):
                cancelled = self._feed.later_cancelled(self._journal.was_removed_id)
                self._feed = self._new_feed()
                if cancelled:
                    self._feed.cancel(cancelled, in_flight=False)
                self.on_replaced()
        except JournalError as error:
            self._notify(f"The failed items are not sent again: {error}")
        finally:
            self._gate.proceed()
        self._count()

    async def _make_pass(self, executor: Executor, started: float) -> None:
        """Send the items that are not done, until the end of the input or until drawing stops early."""

        def handle(results: list[ItemResult]) -> None:
            self._calls.note_rejections(results)
            self._store(self._pending.add(results))
            self._feed.take_back(len(results))
            self._count()
            self.summary.elapsed = anyio.current_time() - started

        async with task_group() as group:
            group.start_soon(self._sync_regularly)
            group.start_soon(self._feed.read_ahead)
            with anyio.CancelScope() as calls:
                group.start_soon(drop_hung_calls, executor, self._gate.stopping, calls, self._notify)
                stop = getattr(executor, "stop", None)
                if stop is not None:
                    group.start_soon(self._call_when_stopping, stop)
                await executor.work(self._feed.items(), handle)
            group.cancel_scope.cancel()
        self._store(self._pending.end_pass(exhausted=not self._feed.has_more))

    async def _call_when_stopping(self, stop: Callable[[], None]) -> None:
        await self._gate.stopping.wait()
        self._feed.take_back(0)  # so that it notices, even if no further result comes
        stop()

    async def _sync_regularly(self) -> None:
        while True:
            await anyio.sleep(_SYNC_INTERVAL)
            await self._sync()

    async def _sync(self) -> None:
        self._feed.note_done()
        await self._calls.sync()
        await self._journal.sync()

    def _store(self, results: list[ItemResult]) -> None:
        """Write what the calls have brought; the rows that need further calls get them."""
        rows, calls = self._calls.handle(results)
        for result in results:
            self.summary.add_call(result)
        for call in calls:
            self._feed.add_call(call)
        self._finish(rows)

    def _finish(self, rows: list[ItemResult]) -> None:
        """Write the lines first, then count: an item is done when its line is written."""
        self._journal.append([row.index for row in rows], b"".join([row.line for row in rows]))
        for row in rows:
            self._feed.finish(row.index)
            self.summary.add_item(row)
        self.on_stored()
