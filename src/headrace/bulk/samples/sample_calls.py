"""Decides which call a row with several answers needs next."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from headrace.bulk.executor import WorkItem
from headrace.bulk.item_result import ItemResult
from headrace.bulk.line_encoding import encode_output_line
from headrace.bulk.output_line import OutputLine, decode_line
from headrace.bulk.result_store import ResultStore
from headrace.bulk.row_calls import Handled
from headrace.bulk.samples.read_samples import read_samples
from headrace.bulk.samples.sample_row import SampleRow
from headrace.bulk.sources import Item
from headrace.bulk.steps import StepStore
from headrace.bulk.summary import SampleCounts
from headrace.bulk.task import Task
from headrace.calls import Request
from headrace.errors import HeadraceError
from headrace.wire.request_bodies import encode_body, encode_json

_MAY_REJECT = frozenset({400, 422})
"""Statuses of an endpoint that rejects a parameter, or the value of one."""


class SampleCalls:
    """The calls of a run with ``samples``. See `RowCalls`.

    A row asks for all its answers at once, with the parameter ``n``. Some endpoints ignore it, allow less, or
    reject it; then further calls bring the rest, one after another. Once a model has given a single answer
    to such a request, the following calls ask it for one, unless it has given several to another.

    A rejection need not name ``n``, and may have another reason. So a row that was rejected is sent once more
    without it.

    Args:
        task: Makes the requests, for all answers at once.
        samples: The number of answers for each row.
        store: Where the lines of the rows go.
        journal: Keeps the answers of rows that need several calls; None for a run that keeps nothing.

    Attributes:
        counts: The answers of this session.
    """

    is_single = False

    def __init__(self, task: Task, samples: int, store: ResultStore, journal: StepStore | None) -> None:
        self._task = task
        self._samples = samples
        self._store = store
        self._journal = journal
        self._rows: dict[int, SampleRow] = {}
        self._reused_by_failed = 0
        self._with_several: set[str | None] = set()
        self._with_one: set[str | None] = set()
        self.counts: SampleCounts = SampleCounts()

    def first(self, item: Item) -> WorkItem | ItemResult:
        """See `RowCalls.first`."""
        row = SampleRow(item, item.index + self._store.first_index, self._task.digest(item))
        try:
            request = self._task.request(item)
            row.request_digest = _digest(self._task, request)
        except HeadraceError as error:  # concerns this row only
            return self._call(row, error)
        row.request = attrs.evolve(request, fresh=True) if self._store.was_removed(item) else request
        self._reuse(row)
        return self._advance(row)

    def _reuse(self, row: SampleRow) -> None:
        """Take the answers of earlier sessions; those that could not be read are asked for again."""
        while self._journal is not None and len(row.answers) < self._samples:
            line = self._journal.find(row.item.id, _step(row), row.request_digest)
            if line is None or not any(answer is not None for answer in line.headrace.answers or ()):
                return
            row.reuse(line)
        if more := len(row.answers) - self._samples:
            del row.answers[-more:]

    def note_rejections(self, results: list[ItemResult]) -> None:
        """See `RowCalls.note_rejections`."""
        for result in results:
            row = self._rows[result.index]
            if row.asked > 1 and result.status in _MAY_REJECT:
                row.was_rejected, result.shared = True, None

    def handle(self, results: list[ItemResult]) -> Handled:
        """Write the answers of rows that need a further call to the steps journal; return these calls."""
        lines, unfinished = list[bytes](), list[SampleRow]()
        handled = Handled([], calls := [])
        for result in results:
            row, line = self._rows.pop(result.index), decode_line(result.line)
            notes = line.headrace
            notes.prompt_tokens, notes.completion_tokens = result.prompt_tokens, result.completion_tokens
            row.add_call(notes)
            if row.was_rejected:
                row.was_rejected, row.one_by_one = False, True
                unfinished.append(row)
            elif not line.answered:
                handled.rows.append(self._finished(row, row.fail(result, line, self._task)))
            else:
                self._take(row, result, line)
                if len(row.answers) < self._samples:
                    if self._journal is not None:
                        lines.append(encode_output_line(line))
                        row.note_journalled(notes)
                    unfinished.append(row)
                else:
                    handled.rows.append(self._finished(row, row.finish(self._task)))
        if lines and self._journal is not None:
            self._journal.append(b"".join(lines))
        calls += [self._next_call(row) for row in unfinished]
        return handled

    def _finished(self, row: SampleRow, result: ItemResult) -> ItemResult:
        """The result of a row, after it was noted."""
        if result.code is not None:
            self._reused_by_failed += row.reused
        elif self._journal is not None:
            self._journal.forget(row.item.id)
        return result

    def note_session(self) -> None:
        """See `RowCalls`."""
        if self._journal is not None:
            self._journal.note_session()

    def forget_failed(self) -> None:
        """Count the answers that rows which have failed have found as if they had not begun."""
        self.counts.reused -= self._reused_by_failed
        self._reused_by_failed = 0

    def _take(self, row: SampleRow, result: ItemResult, line: OutputLine) -> None:
        """Add the answers of a call to its row, and prepare its line for the steps journal."""
        found = read_samples(line, self._task)
        if len(found) > 1:
            self._with_several.add(row.model)
        elif row.asked > 1 or row.one_by_one:
            self._with_one.add(row.model)
        found = found[: self._samples - len(row.answers)]
        result.further_reasons = [each.finish_reason for each in found[1:] if each.finish_reason is not None]
        self.counts.answers += len(found)
        self.counts.unread += sum(each.error is not None for each in found)
        row.add_samples(line.response, found)
        notes = line.headrace
        notes.step, notes.request, notes.answer = _step(row), row.request_digest, None
        notes.answers = [each.answer for each in found]

    def _advance(self, row: SampleRow) -> WorkItem | ItemResult:
        """The next call of a row, or its result if it has all answers."""
        row.reused = len(row.answers)
        self.counts.reused += row.reused
        if len(row.answers) < self._samples:
            return self._next_call(row)
        return self._finished(row, row.finish(self._task))

    def _next_call(self, row: SampleRow) -> WorkItem:
        request, number = row.request, self._samples - len(row.answers)
        assert request is not None
        if row.one_by_one or (row.model in self._with_one and row.model not in self._with_several):
            number = 1
        row.asked = number
        body: dict[str, Any] = {name: value for name, value in (request.body or {}).items() if name != "n"}
        if number > 1:
            body["n"] = number
        if not row.answers:
            return self._call(row, attrs.evolve(request, body=body))
        if type(body.get("seed")) is int:  # with the same seed, it would be the same answer
            body["seed"] += len(row.answers)
        return self._call(row, attrs.evolve(request, body=body, fresh=True))  # a cache has the earlier answer

    def _call(self, row: SampleRow, request: Request | HeadraceError) -> WorkItem:
        self._rows[row.index] = row
        return WorkItem(row.index, row.item.id, request, digest=row.digest, call=row.resumable + 1)

    async def sync(self) -> None:
        """Sync the steps journal."""
        if self._journal is not None:
            await self._journal.sync()


def _step(row: SampleRow) -> str:
    """The name of the next call in the steps journal. One whose answers cannot be read takes no number."""
    return f"sample {row.resumable + 1}"


def _digest(task: Task, request: Request) -> str:
    """What identifies a request for any number of answers, and how they are read.

    Raises:
        RequestError: The body cannot be sent.
    """
    body = {name: value for name, value in (request.body or {}).items() if name != "n"}
    digest = hashlib.blake2b(encode_body(body), digest_size=16)
    schema = None if task.answer is None else task.answer.schema
    digest.update(encode_json([task.choices, schema, sorted(task.fail_on)]))
    return digest.hexdigest()
