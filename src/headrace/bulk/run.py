"""Runs a task over its source: items to an executor, results into the journal."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import anyio
import anyio.to_thread
import attrs

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.doubts import Doubts
from headrace.bulk.executor import Executor, LocalExecutor, WorkItem, carry_over
from headrace.bulk.journal import Journal
from headrace.bulk.processes import ProcessExecutor
from headrace.bulk.result import Result
from headrace.bulk.sources import Source
from headrace.bulk.summary import Summary
from headrace.bulk.tables import Table
from headrace.bulk.task import Task
from headrace.bulk.template import Template
from headrace.client import Client
from headrace.errors import DeadlineExceeded, SettingsError, WorkerLost

_log = logging.getLogger("headrace")

_SYNC_EVERY = 1.0
"""Seconds between two times that the journal is forced onto the disk."""

WAIT_FOR_ENDPOINT = 600.0
"""The default of seconds for which an open circuit is waited for, without a success in between."""

_PATIENCE = 30.0
"""Seconds after a stop in which a policy has to be done with the calls under way."""

_LOOK_EVERY = 1.0
"""Seconds between two looks at what has not ended by then."""

_SHORTEST_PAUSE = 0.5
"""Seconds; while a half-open circuit's probes are under way, it says 0 of how long to wait."""

_FIRST_SILENCE, _LONGEST_SILENCE = 2.0, 60.0
"""Seconds of a pause whose length nobody said; doubled each time, until something succeeds."""


class Keeper(Protocol):
    """Keeps the lines of a run; a `Journal` does.

    ``append`` takes lines and their items, durable once it returns; ``sync`` makes them outlast the machine.
    ``was_failed`` is true for an item that failed in an earlier session and is sent again.
    """

    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...
    def is_done(self, index: int, /) -> bool: ...
    def was_failed(self, index: int, /) -> bool: ...
    def append(self, indexes: list[int], lines: bytes, /) -> None: ...
    async def sync(self) -> None: ...


class BulkRun:
    """One session of a run: what the journal has not got yet is sent, and written down.

    ``summary`` is kept up to date while it goes. While the endpoint's circuit is open nothing is drawn, and
    the items that it refused are sent when it closes, together with those that failed because the endpoint
    was down. Where a thousand items in a row got no answer, it is waited for without a circuit.

    An error that all later calls share (no credit left, a refused key, an unknown model) stops the drawing,
    and its items are left unsent; see `SharedErrorDetector`. If it is a rate limit, the run waits and goes
    on.

    Without a success in ``wait_for_endpoint`` seconds, waiting ends the session; so does ``deadline``, in
    seconds from its beginning, which drops what is in flight.

    ``say`` is told, as a line, what a stop waits for (default: a warning in the log).
    """

    def __init__(
        self,
        task: Task,
        journal: Keeper,
        total: int,
        *,
        wait_for_endpoint: float = WAIT_FOR_ENDPOINT,
        deadline: float | None = None,
        say: Callable[[str], None] = _log.warning,
    ) -> None:
        self._task = task
        self._say = say
        self._journal = journal
        self._wait_for_endpoint = wait_for_endpoint
        self._deadline = deadline
        self._stopping = anyio.Event()
        self._doubts = Doubts()
        self._cut_short = False
        self.summary: Summary = Summary(total, done_before=journal.done, failed_before=journal.failed)

    def stop(self) -> None:
        """Draw no more items; `perform` returns when those in flight are finished and written.

        After 30 s it says what it waits for. Calls that are in no attempt then, because a policy hangs, are
        dropped once no attempt is on the wire; their items are left unsent.
        """
        self.summary.stopped_by = self.summary.stopped_by or "interrupt"
        self._stopping.set()

    @uninterrupted
    async def perform(self, executor: Executor) -> Summary:
        """Send what is left; returns the summary. Raises `JournalError` when nothing can be written."""
        summary, started = self.summary, anyio.current_time()
        try:
            with anyio.move_on_after(self._deadline) as scope:
                await self._passes(executor, started)
            if scope.cancelled_caught:
                summary.stopped_by = DeadlineExceeded(f"the run's deadline of {self._deadline:g} s passed")
        except WorkerLost as error:
            summary.stopped_by = error
        finally:
            summary.elapsed = anyio.current_time() - started
            await self._journal.sync()
        return summary

    async def _passes(self, executor: Executor, started: float) -> None:
        """Go over the input until nothing is left, waiting for the endpoint in between."""
        summary, doubts = self.summary, self._doubts
        waited_since, succeeded, silence = started, 0, _FIRST_SILENCE
        while True:
            await self._pass(executor, started)
            if summary.succeeded > succeeded:
                waited_since, succeeded, silence = anyio.current_time(), summary.succeeded, _FIRST_SILENCE
            if self._stopping.is_set():
                return
            if doubts.ended_by is not None:
                summary.stopped_by = doubts.ended_by
                return
            refusal, doubts.refusal = doubts.refusal, None
            if refusal is None:
                if not self._cut_short:
                    return
                continue  # the error was about its items after all
            left = waited_since + self._wait_for_endpoint - anyio.current_time()
            pause = min(silence, left) if refusal.seconds is None else refusal.seconds
            silence = min(2 * silence, _LONGEST_SILENCE)
            if pause > left or left <= 0:
                summary.stopped_by = refusal.error
                return
            summary.waiting = refusal.because or str(refusal.error)
            with anyio.move_on_after(max(pause, _SHORTEST_PAUSE)):
                await self._stopping.wait()
            summary.waiting = ""

    async def _pass(self, executor: Executor, started: float) -> None:
        """Go over the input once and send what is not done, until its end or something that stops it."""

        def take(results: list[Result]) -> None:
            self._keep(self._doubts.sort(results))
            self.summary.elapsed = anyio.current_time() - started

        self._cut_short = False
        async with task_group() as group:
            group.start_soon(self._sync_regularly)
            with anyio.CancelScope() as calls:
                group.start_soon(self._drop_what_hangs, executor, calls)
                await executor.work(self._items(), take)
            group.cancel_scope.cancel()
        self._keep(self._doubts.end_pass(exhausted=not self._cut_short))

    async def _drop_what_hangs(self, executor: Executor, calls: anyio.CancelScope) -> None:
        """After a stop, see to it that a call ends which hangs in a policy."""
        unfinished = getattr(executor, "unfinished", None)
        if unfinished is None:
            return
        await self._stopping.wait()
        await anyio.sleep(_PATIENCE)
        told = False
        while True:
            left = await unfinished()
            if not left.endpoints:
                who = ", ".join(f"policy {name!r}" for name in left.policies) or "something"
                self._say(
                    f"Dropping the calls in flight: {_PATIENCE:g} s after the stop, {who} still holds them. "
                    "Their items are left unsent."
                )
                calls.cancel()
                return
            if not told:
                told = True
                self._say(
                    f"Still waiting for {', '.join(left.endpoints)}, for the timeout of the calls at most. "
                    "Ctrl-C again drops them."
                )
            await anyio.sleep(_LOOK_EVERY)

    async def _sync_regularly(self) -> None:
        while True:
            await anyio.sleep(_SYNC_EVERY)
            await self._journal.sync()

    def _items(self) -> Iterator[WorkItem]:
        request, journal, doubts = self._task.request, self._journal, self._doubts
        for item in self._task.source.items():
            if doubts.stops_drawing or self._stopping.is_set():
                self._cut_short = True
                return
            if not journal.is_done(item.index):
                asked = request(item)
                if journal.was_failed(item.index):  # a cache may have kept what it failed with
                    asked = attrs.evolve(asked, fresh=True)
                yield WorkItem(item.index, item.id, asked, doubts.begin())

    def _keep(self, results: list[Result]) -> None:
        """Journal first, then count: an item is done when its line is written."""
        self._journal.append(
            [result.index for result in results], b"".join([result.line for result in results])
        )
        for result in results:
            self.summary.add(result)


async def run(
    client: Client | Callable[[], Client],
    source: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    prompt: str | None = None,
    choices: Iterable[str] | None = None,
    answer: Any = None,
    id_column: str | None = None,
    system: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    limit: int | None = None,
    wait_for_endpoint: float = WAIT_FOR_ENDPOINT,
    deadline: float | None = None,
    max_in_flight: int | None = None,
    retry_failed: bool = False,
    processes: int = 1,
    table: str | os.PathLike[str] | None = None,
) -> Summary:
    """Run a prompt over a file, as ``headrace run`` does, and return the summary.

    ``source`` is CSV, JSONL, Parquet or OpenAI's batch format, ``prompt`` a template over its columns (none
    for the batch format). ``choices`` are the answers that there may be; ``answer``, in their place, is the
    type of each, as with `Client.chat`. ``system`` stands above each prompt, ``parameters`` are the API's own
    (``temperature``, …) and ``limit`` has only so many items sent, from the first on. Outcomes are appended
    to ``out`` in OpenAI's batch output format. Called again with the same arguments it goes on where it
    stopped; ``retry_failed`` sends failed items again. The model is the client's.

    While the endpoint's circuit is open the run waits, for ``wait_for_endpoint`` seconds without a success
    (default 600) at most; ``deadline`` is in seconds for this session. Either leaves the rest to the next
    call, and so does an error that all later calls share, like a refused key or no credit left: it is
    ``stopped_by`` of the summary, and the items that got it are left unsent.

    ``table``, a path that ends in ``.csv`` or ``.parquet``, has what is done written there as a table when
    the session ends, also one that was stopped; see `write_table`.

    ``client`` is an open one, or what makes one, which is then opened and closed. With ``processes`` above 1
    it must be the latter, and picklable, like ``functools.partial(headrace.Client, model="…")``: so many
    processes make the calls, and share ``max_in_flight`` (default: the client's) and the budget.

    Raises `InputError`, `JournalError` or `SettingsError` before anything is sent.
    """
    if isinstance(client, Client):
        if processes != 1:
            raise SettingsError(
                f"processes={processes} needs what makes a client, like "
                "functools.partial(headrace.Client, …), in place of a client: each process has its own"
            )
        opened: Client | None = None
    else:
        make_client, client = client, client()
        opened = client
    settings = client.settings
    items = Source(source, id_column, limit)
    wanted = None if table is None else Table(table, items, out)
    task = Task(
        items,
        None if prompt is None else Template(prompt),
        settings.model,
        choices,
        system,
        parameters or {},
        answer,
    )
    total = task.check()
    with Journal(out, task.fingerprint(), total, limit is not None) as journal:
        if retry_failed:
            journal.forget_failed()
        bulk = BulkRun(task, journal, total, wait_for_endpoint=wait_for_endpoint, deadline=deadline)
        if processes != 1:
            most = max_in_flight or settings.max_in_flight
            async with ProcessExecutor(
                make_client, processes, most, task.choices, task.answer, spent=journal.spent
            ) as executor:
                await bulk.perform(executor)
        else:
            carry_over(client, journal.spent)
            if opened is not None and max_in_flight is not None:
                opened.limiter.total_tokens = max_in_flight
            async with opened or nullcontext():
                await bulk.perform(LocalExecutor(client, task.choices, max_in_flight))
        if wanted is not None:
            await anyio.to_thread.run_sync(wanted.write)
    return bulk.summary
