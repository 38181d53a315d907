"""Decides which step of a row is sent next, and keeps the answers of all steps."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import attrs

from headrace.bulk.executor import WorkItem
from headrace.bulk.item_result import ItemResult
from headrace.bulk.line_encoding import encode_output_line
from headrace.bulk.output_line import decode_line
from headrace.bulk.result_store import ResultStore
from headrace.bulk.row_calls import Handled
from headrace.bulk.sources import Item
from headrace.bulk.steps.step_row import StepRow
from headrace.bulk.steps.step_store import StepStore
from headrace.bulk.steps.step_task import PlannedStep, StepTask
from headrace.bulk.summary import StepCounts
from headrace.calls import Request
from headrace.errors import HeadraceError, InputError
from headrace.wire.request_bodies import encode_body, encode_json


class StepCalls:
    """The calls of a job with steps: those of a row follow each other. See `RowCalls`.

    Args:
        task: Makes the requests.
        store: Where the lines of the rows go.
        journal: Keeps the answers of the steps; None for a run that keeps nothing.

    Attributes:
        counts: What became of each step, by its name.
    """

    is_single = False

    def __init__(self, task: StepTask, store: ResultStore, journal: StepStore | None) -> None:
        self._task = task
        self._store = store
        self._journal = journal
        self._rows: dict[int, StepRow] = {}
        self._passed_by_failed: Counter[tuple[str, str]] = Counter()
        self.counts: Mapping[str, StepCounts] = {step.name: StepCounts() for step in task.steps}

    def first(self, item: Item) -> WorkItem | ItemResult:
        """See `RowCalls.first`."""
        index, fresh = item.index + self._store.first_index, self._store.was_removed(item)
        return self._advance(StepRow(item, index, self._task.digest(item), fresh))

    def note_rejections(self, results: list[ItemResult]) -> None:
        """Do nothing: no other call can replace one of a step."""

    def handle(self, results: list[ItemResult]) -> Handled:
        """Write the answers to the steps journal; then return the next calls and the finished rows."""
        lines, answered = list[bytes](), list[StepRow]()
        handled = Handled([], calls := [])
        for result in results:
            row = self._rows.pop(result.index)
            step, line = self._task.steps[row.place], decode_line(result.line)
            notes = line.headrace
            notes.prompt_tokens, notes.completion_tokens = result.prompt_tokens, result.completion_tokens
            if line.error is not None:
                self.counts[step.name].failed += 1
                self._passed_by_failed.update(row.passed)
                journalled = self._journal is not None
                handled.rows.append(row.fail(step.name, result, line, journalled=journalled))
                continue
            notes.step, notes.request = step.name, row.request
            lines.append(encode_output_line(line))
            self.counts[step.name].done += 1
            row.take(step.column, line)
            row.place += 1
            answered.append(row)
        if lines and self._journal is not None:
            self._journal.append(b"".join(lines))
        for row in answered:
            following = self._advance(row)
            if isinstance(following, WorkItem):
                calls.append(following)
            else:
                handled.rows.append(following)
        return handled

    def note_session(self) -> None:
        """See `RowCalls`."""
        if self._journal is not None:
            self._journal.note_session()

    def forget_failed(self) -> None:
        """Count what rows that have failed have passed over as if they had not begun."""
        for (name, count), number in self._passed_by_failed.items():
            setattr(self.counts[name], count, getattr(self.counts[name], count) - number)
        self._passed_by_failed.clear()
        for counts in self.counts.values():
            counts.failed = 0

    def _advance(self, row: StepRow) -> WorkItem | ItemResult:
        """The next call of a row, or its result if it needs none.

        Skipped steps, and steps whose answer is in the journal, are passed over.
        """
        steps, item = self._task.steps, row.item
        while row.place < len(steps):
            step = steps[row.place]
            try:
                request = self._request(step, row)
                row.request = "" if request is None else _digest(step, request)
            except HeadraceError as error:  # concerns this row only
                return self._call(row, error)
            if request is None:
                self._pass_over(row, step.name, "skipped")
                row.answers[step.column] = None
            else:
                journal = self._journal
                found = None if journal is None else journal.find(item.id, step.name, row.request)
                if found is None:
                    return self._call(row, request)
                self._pass_over(row, step.name, "reused")
                row.take(step.column, found)
            row.place += 1
        if self._journal is not None:
            self._journal.forget(item.id)
        return row.succeed(journalled=self._journal is not None)

    def _pass_over(self, row: StepRow, name: str, count: str) -> None:
        row.passed.append((name, count))
        setattr(self.counts[name], count, getattr(self.counts[name], count) + 1)

    def _request(self, step: PlannedStep, row: StepRow) -> Request | None:
        """The request of a step; None if its condition is false."""
        item = self._task.with_answers(row.item, row.answers)
        if step.when is not None:
            self._task.check_condition(step, item)
            try:
                if not step.when.holds(item.row):
                    return None
            except InputError as error:
                raise InputError(f"{self._task.source.where(item.line)}: {error}") from None
        request = step.task.request(item)
        return attrs.evolve(request, fresh=True) if row.fresh else request

    def _call(self, row: StepRow, request: Request | HeadraceError) -> WorkItem:
        self._rows[row.index] = row
        return WorkItem(
            row.index,
            row.item.id,
            request,
            digest=row.digest,
            step=row.place,
            line=row.item.line,
            call=row.place + 1,
        )

    async def sync(self) -> None:
        """Sync the journal of the steps."""
        if self._journal is not None:
            await self._journal.sync()


def _digest(step: PlannedStep, request: Request) -> str:
    """What identifies a request and how its answer is read; raises `RequestError` as its call would."""
    task = step.task
    digest = hashlib.blake2b(encode_body(request.body), digest_size=16)
    schema = None if task.answer is None else task.answer.schema
    digest.update(encode_json([task.choices, schema]))
    return digest.hexdigest()
