"""Runs a task over its source: requests through a client's map, outcomes into the journal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import anyio

from headrace.bulk.journal import Journal
from headrace.bulk.records import encode_line
from headrace.bulk.sources import Source
from headrace.bulk.summary import Summary
from headrace.bulk.task import Task
from headrace.bulk.template import Template
from headrace.client import Client
from headrace.errors import CallError, CircuitOpen
from headrace.model import Outcome, Request

_SYNC_EVERY = 1.0
"""Seconds between two times that the journal is forced onto the disk."""

WAIT_FOR_ENDPOINT = 600.0
"""Seconds for which an open circuit is waited for, without a success in between, before the run stops."""

_SHORTEST_PAUSE = 0.5
"""Seconds; while a half-open circuit's probes are under way, it says 0 of how long to wait."""


class BulkRun:
    """One session of a run: what the journal has not got yet is sent, and written down.

    ``summary`` is kept up to date while it goes. While the endpoint's circuit is open nothing is drawn, and
    the items that it refused are sent when it closes. An error that all later calls would share (a refused
    key, a budget used up) stops the drawing; what is in flight is finished and kept.
    """

    def __init__(self, task: Task, journal: Journal, total: int) -> None:
        self._task = task
        self._journal = journal
        self._stopping = anyio.Event()
        self._refusal: CircuitOpen | None = None
        self._drawn: dict[int, tuple[int, str]] = {}
        self.summary = Summary(total, done_before=journal.done, failed_before=journal.failed)

    def stop(self) -> None:
        """Draw no more items; `perform` returns when those in flight are finished and written."""
        self._stopping.set()
        self.summary.stopped_by = self.summary.stopped_by or "interrupt"

    async def perform(self, client: Client, *, max_in_flight: int | None = None) -> Summary:
        """Send what is left; returns the summary. Raises `JournalError` when nothing can be written."""
        summary, started = self.summary, anyio.current_time()
        waited_since, succeeded = started, 0
        try:
            while True:
                await self._pass(client, max_in_flight, started)
                if summary.succeeded > succeeded:
                    waited_since, succeeded = anyio.current_time(), summary.succeeded
                refusal, self._refusal = self._refusal, None
                if refusal is None or self._stopping.is_set():
                    return summary
                if anyio.current_time() + refusal.retry_after - waited_since > WAIT_FOR_ENDPOINT:
                    summary.stopped_by = refusal
                    return summary
                with anyio.move_on_after(max(refusal.retry_after, _SHORTEST_PAUSE)):
                    await self._stopping.wait()
        finally:
            summary.elapsed = anyio.current_time() - started
            await self._journal.sync()

    async def _pass(self, client: Client, max_in_flight: int | None, started: float) -> None:
        """Go over the input once and send what is not done, until its end or something that stops it."""
        synced = anyio.current_time()
        self._drawn.clear()
        # No buffer: what a crash may cause to be sent again is what was in flight, and no more.
        async with client.map(self._requests(), max_in_flight=max_in_flight, buffer=0) as outcomes:
            while batch := await outcomes.batch():
                self._write(batch)
                now = anyio.current_time()
                self.summary.elapsed = now - started
                if now - synced >= _SYNC_EVERY:
                    await self._journal.sync()
                    synced = now

    def _requests(self) -> Iterator[Request]:
        number = 0
        for item in self._task.source.items():
            if self._stopping.is_set() or self._refusal is not None:
                return
            if not self._journal.is_done(item.index):
                # A map numbers what it draws; the output needs the item's place in the input.
                self._drawn[number] = item.index, item.id
                number += 1
                yield self._task.request(item)

    def _write(self, batch: list[Outcome]) -> None:
        """Journal first, then count: an item is done when its line is written."""
        lines, indexes, counted = [], [], []
        for outcome in batch:
            index, id = self._drawn.pop(outcome.index)
            error, answer = outcome.error, None
            if isinstance(error, CircuitOpen):
                self._refusal = error
                continue
            if isinstance(error, CallError) and error.ends_run:
                self._stopping.set()
                self.summary.stopped_by = error
                continue
            if outcome.reply is not None:
                answer, error = self._task.judge(outcome.reply)
            lines.append(encode_line(index, id, outcome, answer, error))
            indexes.append(index)
            counted.append((outcome, error))
        self._journal.append(indexes, b"".join(lines))
        for outcome, error in counted:
            self.summary.add(outcome, error)


async def run(
    client: Client,
    source: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    prompt: str | None = None,
    choices: Iterable[str] | None = None,
    id_column: str | None = None,
    max_in_flight: int | None = None,
    retry_failed: bool = False,
) -> Summary:
    """Run a prompt over a file, as ``headrace run`` does, and return the summary.

    ``source`` is CSV, JSONL or OpenAI's batch format, ``prompt`` a template over its columns (none for the
    batch format). Outcomes are appended to ``out`` in OpenAI's batch output format. Called again with the
    same arguments it goes on where it stopped; ``retry_failed`` sends failed items again. The model is the
    client's.

    Raises `InputError` or `JournalError` before anything is sent.
    """
    task = Task(
        Source(source, id_column),
        None if prompt is None else Template(prompt),
        client.settings.model,
        choices,
    )
    total = task.check()
    with Journal(out, task.fingerprint(), total) as journal:
        if retry_failed:
            journal.forget_failed()
        return await BulkRun(task, journal, total).perform(client, max_in_flight=max_in_flight)
