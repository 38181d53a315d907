"""One session of a bulk run: items to an executor, results into the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import cast

import anyio

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.call_feed import CallFeed
from headrace.bulk.cancellation import Cancellation, cancel_items
from headrace.bulk.checked_input import CheckedInput
from headrace.bulk.drawing_gate import DrawingGate
from headrace.bulk.drawn_items import DrawnItems
from headrace.bulk.endpoint_wait import EndpointWait
from headrace.bulk.executor import Executor
from headrace.bulk.hung_calls import drop_hung_calls
from headrace.bulk.input_check import InputCheck
from headrace.bulk.item_feed import ItemFeed
from headrace.bulk.item_result import ItemResult
from headrace.bulk.pending_results import PendingResults
from headrace.bulk.result_store import ResultStore
from headrace.bulk.retried_failures import RetriedFailures
from headrace.bulk.row_calls import RowCalls, SingleCall
from headrace.bulk.run_task import CallTask, RunTask
from headrace.bulk.stored_results import StoredResults
from headrace.bulk.summary import Summary
from headrace.errors import DeadlineExceeded, RunDetached, WorkerLost

_log = logging.getLogger("headrace")

WAIT_FOR_ENDPOINT = 600.0
"""Seconds that a run waits for an endpoint without a success; the default."""

PAUSED = "paused"
"""What a run waits for while it is paused."""


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
        results: Writes the results.
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
        self._wait: EndpointWait | None = None
        self.ended: bool = False
        self._pending = PendingResults()
        self._check = total if isinstance(total, InputCheck) else None
        if calls is None:
            calls = SingleCall(cast(CallTask, task), journal)
        self._calls = calls
        self.drawn: DrawnItems = DrawnItems()
        self.summary: Summary = Summary(0) if summary is None else summary
        self.summary.total = total if isinstance(total, int) else 0
        self.results: StoredResults = StoredResults(calls, journal, self.summary)
        self._feed = self.results.feed = self._new_feed()
        self._input = CheckedInput(task.source, self._check, self.summary, self._gate)
        self.on_replaced: Callable[[], None] = lambda: None
        self._retried = RetriedFailures(
            *(journal, calls, self._check, self._input, self._feed, self.summary, self._gate),
            on_removed=lambda: self.on_replaced(),
            notify=notify,
        )
        self._input.count()

    def _new_feed(self) -> ItemFeed:
        source, gate = self._task.source, self._gate
        arguments = (source, self._calls, self._journal, self._pending, gate, self._check, self.drawn)
        if self._calls.is_single:
            return ItemFeed(*arguments)
        return CallFeed(*arguments, finish=self.results.finish)

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
        if self.paused and not hasattr(self._executor, "stop"):
            self._resume_executor()  # it notices that the gate is closed

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
        """Draw items again, at once; calls that began before the pause may still be in flight.

        With an executor that cannot be paused itself, these calls are finished first.
        """
        self._gate.resume()
        self.summary.waiting = ""
        if self._wait is not None:
            self._wait.begin_again()
        self._resume_executor()

    def _resume_executor(self) -> None:
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
        """Send the failed items again in this session; see `RetriedFailures`.

        Returns:
            How many items have failed so far.

        Raises:
            ControlRefused: It is not possible in this run.
        """
        return self._retried.request(self._executor)

    @property
    def when_retried(self) -> str:
        """When `retry_failed` sends the failed items, in words."""
        beside = hasattr(self._executor, "draw_again")
        return "beside those in flight" if beside else "when the calls in flight are finished"

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
                    group.start_soon(self._input.check_rest)
                    group.start_soon(self._retried.beside_calls, executor)
                    await self._make_passes(executor, started)
                    group.cancel_scope.cancel()
                if summary.stopped_by is None:
                    self._input.finish()
            if scope.cancelled_caught:
                summary.stopped_by = DeadlineExceeded(f"the run's deadline of {self._deadline:g} s passed")
            if summary.stopped_by is None:
                self._input.check_unchanged()
        except (WorkerLost, RunDetached) as error:
            summary.stopped_by = error
        finally:
            summary.elapsed = anyio.current_time() - started
            summary.going_on = getattr(executor, "going_on", "")
            self.ended = True
            self._input.count()
            await self.results.sync()
        return summary

    async def _make_passes(self, executor: Executor, started: float) -> None:
        """Draw items until nothing is left, and wait for the endpoint in between."""
        summary, pending = self.summary, self._pending
        wait = self._wait = EndpointWait(self._wait_for_endpoint, started)
        while True:
            await self._gate.wait_while_paused()
            if self._retried.wanted and not self.stopping:
                await self._retried.between_passes()
            await self._make_pass(executor, started)
            wait.note_successes(summary.succeeded)
            if self._gate.stopping.is_set():
                return
            if pending.ended_by is not None:
                summary.stopped_by = pending.ended_by
                return
            pause, pending.pause = pending.pause, None
            if pause is None:
                if not self._feed.has_more and not self._retried.wanted:
                    return
                self._input.catch_up()
                continue  # the error concerned these items only, or many rows needed no call
            seconds = wait.next_pause(pause.seconds)
            if seconds is None:
                summary.stopped_by = pause.error
                return
            summary.waiting = pause.reason or str(pause.error)
            with anyio.move_on_after(seconds):
                await self._gate.stopping.wait()
            summary.waiting = PAUSED if self.paused else ""

    async def _make_pass(self, executor: Executor, started: float) -> None:
        """Send the items that are not done, until the end of the input or until drawing stops early."""

        def handle(results: list[ItemResult]) -> None:
            self._calls.note_rejections(results)
            self.results.store(self._pending.add(results))
            self._feed.take_back(len(results))
            self._input.count()
            self.summary.elapsed = anyio.current_time() - started

        async with task_group() as group:
            group.start_soon(self.results.sync_regularly)
            group.start_soon(self._feed.read_ahead)
            with anyio.CancelScope() as calls:
                group.start_soon(drop_hung_calls, executor, self._gate.stopping, calls, self._notify)
                stop = getattr(executor, "stop", None)
                if stop is not None:
                    group.start_soon(self._call_when_stopping, stop)
                await executor.work(self._feed.items(), handle)
            group.cancel_scope.cancel()
        self.results.store(self._pending.end_pass(exhausted=not self._feed.has_more))

    async def _call_when_stopping(self, stop: Callable[[], None]) -> None:
        await self._gate.stopping.wait()
        self._feed.take_back(0)  # so that it notices, even if no further result comes
        stop()
