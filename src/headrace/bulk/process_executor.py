"""An executor over several processes, each with an event loop, a client and a share of the calls in flight.

This process draws the items and writes the journal; the workers make the calls and encode the output lines,
so this process has little work per item. A worker that dies is replaced, and its items are sent again. Only
this process writes, so no item gets two lines.
"""

from __future__ import annotations

import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.lowlevel import checkpoint

from headrace.bulk.executor import ResultHandler, WorkItem
from headrace.bulk.fail_on import DEFAULT_FAIL_ON
from headrace.bulk.item_result import ItemResult
from headrace.bulk.unfinished_calls import UnfinishedCalls
from headrace.bulk.worker_frames import encode_frames, failed_result
from headrace.bulk.worker_process import current_event_loop, pickle_for_worker, worker_process
from headrace.bulk.worker_protocol import FrameStream, WorkerOrder, WorkerReport, WorkerSetup
from headrace.bulk.worker_state import WorkerState, shares
from headrace.client import Client
from headrace.errors import HeadraceError, SettingsError, WorkerLost
from headrace.settings import SHARED_FOLDER, SPENT_BEFORE
from headrace.wire.structured_output import ResponseFormat

_FEWEST_AHEAD = 16
"""Minimum number of items that a worker holds in addition to its calls in flight, so that it never waits."""

_MOST_DEATHS = 3
_NOTHING = Decimal(0)


class ProcessExecutor:
    """Makes the calls in several worker processes. An async context manager.

    Args:
        make_client: Makes a client in each worker, so it must be picklable: a ``functools.partial`` of
            `Client`, or a function of a module.
        processes: The number of workers.
        max_in_flight: Maximum number of calls at once, in all workers together.
        choices: The allowed answers; empty for any.
        answer: The type of each answer; see `Task`.
        on_event: Called with the name and data of the events that policies of the workers emit.
        spent: Cost of earlier sessions of the run, in USD.
        fail_on: The finish reasons that make an item fail; see `headrace.bulk.run`.
        steps: The choices and the type of the answers of each step, in place of ``choices`` and ``answer``;
            empty for a run without steps.

    Raises:
        SettingsError: An argument cannot be pickled, or there are fewer calls than processes.
    """

    def __init__(
        self,
        make_client: Callable[[], Client],
        processes: int,
        max_in_flight: int,
        choices: Sequence[str] = (),
        answer: ResponseFormat | None = None,
        on_event: Callable[[str, Mapping[str, Any]], None] = lambda name, data: None,
        spent: Decimal = _NOTHING,
        fail_on: Set[str] = DEFAULT_FAIL_ON,
        steps: Sequence[tuple[Sequence[str], ResponseFormat | None]] = (),
    ) -> None:
        if not 1 <= processes <= max_in_flight:
            raise SettingsError(
                f"processes={processes}: must be at least 1, and at most max_in_flight={max_in_flight}"
            )
        self._make_client = pickle_for_worker(
            make_client,
            "a functools.partial(headrace.Client, …), or a function of a module that makes the client",
        )
        steps = steps or [(choices, answer)]
        kinds = [None if each is None else each.kind for _, each in steps]
        self._answers = [
            pickle_for_worker(each, "a class that a module defines as answer=") for each in kinds
        ]
        self._choices = [list(each) for each, _ in steps]
        self._fail_on = sorted(fail_on)
        self._on_event = on_event
        self._spent = spent
        self._shares = shares(max_in_flight, processes)
        self._limits: dict[str, int | float | str | None] = {}
        self._workers: list[WorkerState] = []
        self._items: Iterator[WorkItem] = iter(())
        self._returned: deque[WorkItem] = deque()
        self._results: list[ItemResult] = []
        self._input_error: Exception | None = None
        self._failure: Exception | None = None
        self._exhausted = True
        self._paused = False
        self._deaths = 0

    @property
    def in_flight(self) -> int:
        """The number of calls in flight in all workers."""
        return sum(worker.in_flight for worker in self._workers)

    @property
    def max_in_flight(self) -> int:
        """The most calls in flight, in all workers together; it can be set at any time."""
        return sum(self._shares)

    @max_in_flight.setter
    def max_in_flight(self, total: int) -> None:
        if total < len(self._shares):
            raise SettingsError(f"must be at least {len(self._shares)}, the number of processes")
        self._shares = shares(total, len(self._shares))
        for worker in self._workers:
            worker.share = self._shares[worker.number]
            worker.orders.append(WorkerOrder(in_flight=worker.share))
        self._notify_waiters()

    def set_limit(self, name: str, value: int | float | str | None) -> None:
        """Change a limit of the policies of all workers, also of those that replace others later."""
        self._limits[name] = value
        for worker in self._workers:
            worker.orders.append(WorkerOrder(limit=(name, value)))
        self._notify_waiters()

    def pause(self) -> None:
        """Give the workers no more items until `resume`; they finish those that they have."""
        self._paused = True

    def resume(self) -> None:
        """Give the workers items again."""
        self._paused = False
        self._notify_waiters()

    async def cancel(self, indexes: Set[int]) -> None:
        """Have the workers cancel the calls of these items."""
        for worker in self._workers:
            if theirs := [index for index in indexes if index in worker.items]:
                worker.orders.append(WorkerOrder(cancel=theirs))
        self._notify_waiters()
        await checkpoint()

    async def unfinished(self) -> UnfinishedCalls:
        """What the calls in flight wait for, in all workers."""
        workers = list(self._workers)
        for worker in workers:
            worker.unfinished = None
            worker.orders.append(WorkerOrder(report_unfinished=True))
        self._notify_waiters()
        while any(worker.unfinished is None and worker in self._workers for worker in workers):
            await self._changed.wait()
        return UnfinishedCalls.of_all([each.unfinished for each in workers if each.unfinished is not None])

    async def __aenter__(self) -> Self:
        self._changed = anyio.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-shared-")
        self._share_spending()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for number in range(len(self._shares)):
            self._group.start_soon(self._supervise, number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            self._folder.cleanup()

    def _share_spending(self) -> None:
        Path(self._folder.name, SPENT_BEFORE).write_text(str(self._spent))

    async def work(self, items: Iterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        self._items, self._exhausted = items, False
        self._notify_waiters()
        try:
            while results := await self._next_results():
                handle(results)
                if self._exhausted:  # the results may have made further calls
                    self._exhausted = False
                    self._notify_waiters()
        finally:
            self._items, self._exhausted = iter(()), True

    async def _next_results(self) -> list[ItemResult]:
        while not self._results:
            if self._failure is not None:
                raise self._failure
            if self._exhausted and not self._returned and not any(each.items for each in self._workers):
                error, self._input_error = self._input_error, None
                if error is not None:
                    raise error
                return []
            await self._changed.wait()
        results, self._results = self._results, []
        return results

    def _notify_waiters(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _supervise(self, number: int) -> None:
        """Keep the worker with this number running; replace it when it dies."""
        while self._failure is None:
            worker = WorkerState(number, self._shares[number])
            worker.orders += [WorkerOrder(limit=limit) for limit in self._limits.items()]
            self._workers.append(worker)
            try:
                async with worker_process({SHARED_FOLDER: self._folder.name}) as frames:
                    await self._work_with(worker, frames)
            finally:
                self._workers.remove(worker)
            self._deaths += 1
            if self._deaths >= _MOST_DEATHS and self._failure is None:
                self._failure = WorkerLost(
                    f"{self._deaths} worker processes died one after the other without finishing an item; "
                    "see their messages above, or try with processes=1"
                )
            self._returned.extend(worker.items.values())
            self._notify_waiters()

    async def _work_with(self, worker: WorkerState, frames: FrameStream[WorkerReport]) -> None:
        """Give a worker items and receive its results, until it dies."""
        setup = WorkerSetup(
            self._make_client,
            sys.path,
            worker.share,
            self._choices,
            self._fail_on,
            self._answers,
            *current_event_loop(),
        )
        try:
            await frames.send(setup)
        except anyio.BrokenResourceError:
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._send_items, worker, frames)
            while (report := await frames.receive()) is not None:
                self._receive_report(worker, report)
            group.cancel_scope.cancel()

    async def _send_items(self, worker: WorkerState, frames: FrameStream[WorkerReport]) -> None:
        while True:
            changed = self._changed
            try:
                while worker.orders:
                    await frames.send(worker.orders.pop(0))
                items = self._draw(worker.share + max(_FEWEST_AHEAD, worker.share) - len(worker.items))
                if not items:
                    await changed.wait()
                    continue
                worker.items.update((item.index, item) for item in items)  # they return if the worker dies
                await checkpoint()  # there is no frame if all items fail
                for frame in encode_frames(items, partial(self._fail, worker)):
                    await frames.send(frame)
            except anyio.BrokenResourceError:
                return  # the worker died; the task that receives its reports notices that too

    def _fail(self, worker: WorkerState, item: WorkItem, error: HeadraceError) -> None:
        """Let an item fail that cannot be sent to a worker."""
        del worker.items[item.index]
        self._results.append(failed_result(item, error))
        self._notify_waiters()

    def _draw(self, most: int) -> list[WorkItem]:
        items: list[WorkItem] = []
        if self._paused:
            return items
        while len(items) < most and self._returned:
            items.append(self._returned.popleft())
        try:
            while len(items) < most and not self._exhausted:
                items.append(next(self._items))
        except StopIteration:
            self._exhausted = True
            self._notify_waiters()
        except Exception as error:
            self._exhausted, self._input_error = True, error
            self._notify_waiters()
        return items

    def _receive_report(self, worker: WorkerState, report: WorkerReport) -> None:
        if report.failure:
            self._failure = SettingsError(f"a worker process cannot start: {report.failure}")
        worker.in_flight = report.in_flight
        worker.unfinished = report.unfinished or worker.unfinished
        for result in report.results:
            item = worker.items.pop(result.index)
            result.number, result.step = item.number, item.step
        if report.results:
            self._deaths = 0
        self._results += report.results
        for name, data in report.events:
            self._on_event(name, data)
        self._notify_waiters()
