"""An executor of several processes: each has an event loop, a client and its share of the calls in flight.

This process draws the items and has the journal; the workers make the calls and write the output's lines, so
that there is little to do here for an item. One that dies is replaced, and what it had is given out again:
since only this process writes, no item gets two lines.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import attrs

from headrace.bulk.executor import Take, WorkItem
from headrace.bulk.frames import Frames, Report, Setup, Work, frames_over
from headrace.bulk.hanging import Unfinished
from headrace.bulk.result import Result
from headrace.client import Client
from headrace.errors import SettingsError, WorkerLost
from headrace.settings import SHARED_FOLDER, SPENT_BEFORE
from headrace.wire.request_bodies import encode_body
from headrace.wire.structured_output import ResponseFormat

_AHEAD = 16
"""The least of items that a worker holds beyond its calls in flight, so that it need not wait for more."""

_MOST_DEATHS = 3
_NOTHING = Decimal(0)
_END_LIMIT = 5.0
"""Seconds that workers have to end by themselves."""


@attrs.define(eq=False)
class _Worker:
    """What this process knows of one: its calls at once, and the items that it has."""

    share: int
    has: dict[int, WorkItem] = attrs.field(factory=dict)
    in_flight: int = 0
    is_asked: bool = False
    unfinished: Unfinished | None = None


class ProcessExecutor:
    """An async context manager over ``processes`` workers, which share ``max_in_flight`` calls.

    ``make_client`` is called in each of them, so it has to be picklable: a ``functools.partial`` of
    `Client`, or a function of a module. ``tell`` hears what the workers' policies tell observers, as name
    and data. ``choices`` and ``answer`` are those of a `Task`; ``spent`` is what earlier sessions of the run
    cost, in USD. Raises `SettingsError` for what cannot be pickled, and for fewer calls than processes.
    """

    def __init__(
        self,
        make_client: Callable[[], Client],
        processes: int,
        max_in_flight: int,
        choices: Sequence[str] = (),
        answer: ResponseFormat | None = None,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda name, data: None,
        spent: Decimal = _NOTHING,
    ) -> None:
        if not 1 <= processes <= max_in_flight:
            raise SettingsError(
                f"processes={processes}: must be at least 1, and at most max_in_flight={max_in_flight}"
            )
        self._make_client = _pickled(
            make_client,
            "a functools.partial(headrace.Client, …), or a function of a module that makes the client",
        )
        self._answer = _pickled(None if answer is None else answer.kind, "a module's class as answer=")
        self._choices = list(choices)
        self._tell_observer = tell
        self._spent = spent
        share, more = divmod(max_in_flight, processes)
        self._shares = [share + (number < more) for number in range(processes)]
        self._workers: list[_Worker] = []
        self._items: Iterator[WorkItem] = iter(())
        self._returned: deque[WorkItem] = deque()
        self._results: list[Result] = []
        self._input_error: Exception | None = None
        self._failure: Exception | None = None
        self._exhausted = True
        self._deaths = 0

    @property
    def in_flight(self) -> int:
        """How many calls are under way in all processes."""
        return sum(worker.in_flight for worker in self._workers)

    async def unfinished(self) -> Unfinished:
        """What the calls under way wait for, in all processes."""
        asked = list(self._workers)
        for worker in asked:
            worker.is_asked, worker.unfinished = True, None
        self._tell()
        while any(worker.unfinished is None and worker in self._workers for worker in asked):
            await self._changed.wait()
        said = [worker.unfinished for worker in asked if worker.unfinished is not None]
        return Unfinished(
            tuple(sorted({name for each in said for name in each.policies})),
            tuple(sorted({url for each in said for url in each.endpoints})),
        )

    async def __aenter__(self) -> Self:
        self._changed = anyio.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-shared-")
        self._share_spending()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for share in self._shares:
            self._group.start_soon(self._keep, share)
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

    async def work(self, items: Iterator[WorkItem], take: Take) -> None:
        """See `Executor.work`."""
        self._items, self._exhausted = items, False
        self._tell()
        try:
            while results := await self._batch():
                take(results)
        finally:
            self._items, self._exhausted = iter(()), True

    async def _batch(self) -> list[Result]:
        while not self._results:
            if self._failure is not None:
                raise self._failure
            if self._exhausted and not self._returned and not any(each.has for each in self._workers):
                error, self._input_error = self._input_error, None
                if error is not None:
                    raise error
                return []
            await self._changed.wait()
        results, self._results = self._results, []
        return results

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # What happens with a worker.

    async def _keep(self, share: int) -> None:
        """See to it that there is a worker with this share."""
        while self._failure is None:
            worker = _Worker(share)
            self._workers.append(worker)
            try:
                async with _process(self._folder.name) as frames:
                    await self._work_with(worker, frames)
            finally:
                self._workers.remove(worker)
            self._deaths += 1
            if self._deaths >= _MOST_DEATHS and self._failure is None:
                self._failure = WorkerLost(
                    f"{self._deaths} worker processes died one after the other without finishing an item; "
                    "see what they wrote above, or try with --processes 1"
                )
            self._returned.extend(worker.has.values())
            self._tell()

    async def _work_with(self, worker: _Worker, frames: Frames[Report]) -> None:
        """Until it dies: give it items, take its results."""
        setup = Setup(self._make_client, sys.path, worker.share, self._choices, self._answer, *_event_loop())
        try:
            await frames.send(setup)
        except anyio.BrokenResourceError:
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._give, worker, frames)
            while (report := await frames.receive()) is not None:
                self._take(worker, report)
            group.cancel_scope.cancel()

    async def _give(self, worker: _Worker, frames: Frames[Report]) -> None:
        while True:
            changed = self._changed
            if worker.is_asked:
                worker.is_asked, items = False, []
            else:
                items = self._draw(worker.share + max(_AHEAD, worker.share) - len(worker.has))
                if not items:
                    await changed.wait()
                    continue
            worker.has.update((item.index, item) for item in items)
            try:
                await frames.send([_work(item) for item in items])
            except anyio.BrokenResourceError:
                return  # it died, which is seen where its results are received

    def _draw(self, most: int) -> list[WorkItem]:
        items: list[WorkItem] = []
        while len(items) < most and self._returned:
            items.append(self._returned.popleft())
        try:
            while len(items) < most and not self._exhausted:
                items.append(next(self._items))
        except StopIteration:
            self._exhausted = True
            self._tell()
        except Exception as error:
            self._exhausted, self._input_error = True, error
            self._tell()
        return items

    def _take(self, worker: _Worker, report: Report) -> None:
        if report.failure:
            self._failure = SettingsError(f"a worker process cannot start: {report.failure}")
        worker.in_flight = report.in_flight
        worker.unfinished = report.unfinished or worker.unfinished
        for result in report.results:
            result.number = worker.has.pop(result.index).number
        if report.results:
            self._deaths = 0
        self._results += report.results
        for name, data in report.events:
            self._tell_observer(name, data)
        self._tell()


def _work(item: WorkItem) -> Work:
    request = item.request
    content = None if request.body is None else encode_body(request.body)
    return Work(item.index, item.id, request.path, request.method, content, request.fresh)


def _pickled(thing: object, better: str) -> bytes:
    try:
        pickled = pickle.dumps(thing)
    except Exception as error:
        raise SettingsError(
            f"{thing!r} cannot be given to other processes ({error}); with processes= give {better}"
        ) from error
    if b"__main__" in pickled:
        raise SettingsError(
            f"{thing!r} refers to the script that is run, which other processes cannot import; "
            "define it in a module of its own"
        )
    return pickled


def _event_loop() -> tuple[str, bool]:
    """The kind of event loop that this is, and whether it is uvloop's."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return "trio", False
    return "asyncio", type(loop).__module__.startswith("uvloop")


@asynccontextmanager
async def _process(shared_folder: str) -> AsyncIterator[Frames[Report]]:
    """A worker process for the block; it ends with its socket, or is made to."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await anyio.open_process(
            [sys.executable, "-m", "headrace.bulk.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=None,
            stderr=None,
            env=dict(os.environ) | {SHARED_FOLDER: shared_folder},
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the process above: it decides what becomes of the run
        )
    try:
        ours.setblocking(False)
        frames: Frames[Report] = await frames_over(ours, Report)
        yield frames
    finally:
        # Shielded, for a cancelled run must not leave processes behind; the wait has its limit.
        with anyio.move_on_after(_END_LIMIT, shield=True):
            await frames.aclose()
            await process.wait()
        if process.returncode is None:
            process.kill()
            with anyio.move_on_after(_END_LIMIT, shield=True):
                await process.wait()
