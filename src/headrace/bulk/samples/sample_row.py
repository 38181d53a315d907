"""A row while its answers are collected, and the line that it gets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import attrs

from headrace.bulk.item_result import ItemResult
from headrace.bulk.line_encoding import code_of, encodable, encode_output_line
from headrace.bulk.line_sums import add_notes, spent_in
from headrace.bulk.output_line import LineError, LineNotes, LineResponse, OutputLine
from headrace.bulk.samples.read_samples import Sample, count_votes
from headrace.bulk.sources import Item
from headrace.bulk.task import Task
from headrace.calls import Request


@attrs.define(eq=False)
class SampleRow:
    """A row and the answers that it has.

    Attributes:
        item: The row.
        index: Its number in the run.
        digest: Its digest; see `Task.digest`.
        request: Its request, for all answers at once; None if none can be made.
        request_digest: What identifies the request, however many answers it asks for.
        answers: The answers, null for one that could not be read.
        resumable: How many of them are in the steps journal and were found readable.
        reused: How many of the answers were there when it was drawn.
        asked: How many answers the call in flight asks for.
        was_rejected: Whether the endpoint may have rejected the number of answers in the call in flight.
        one_by_one: Whether each call asks for one answer.
    """

    item: Item
    index: int
    digest: int
    request: Request | None = None
    request_digest: str = ""
    answers: list[Any] = attrs.field(factory=list)
    resumable: int = 0
    reused: int = 0
    asked: int = 0
    was_rejected: bool = False
    one_by_one: bool = False
    _notes: LineNotes = attrs.field(factory=lambda: LineNotes(0, 0.0))
    _journalled: Decimal = Decimal(0)
    _response: LineResponse | None = None
    _first_error: Sample | None = None

    @property
    def model(self) -> str | None:
        """The model of its request."""
        return None if self.request is None else self.request.model

    def add_call(self, notes: LineNotes) -> None:
        """Add the attempts, seconds, tokens and costs of a call."""
        add_notes(self._notes, notes)

    def add_samples(self, response: LineResponse | None, samples: Sequence[Sample]) -> None:
        """Add the answers of a call."""
        self._response = response
        self.answers += [sample.answer for sample in samples]
        if self._first_error is None:
            self._first_error = next((each for each in samples if each.error is not None), None)

    def note_journalled(self, notes: LineNotes) -> None:
        """Note that the line of a call is in the steps journal, which counts its cost."""
        self._journalled += spent_in(notes)
        answers = notes.answers or []
        if any(answer is not None for answer in answers):
            self.resumable += len(answers)

    def reuse(self, line: OutputLine) -> None:
        """Add the answers of an earlier session, from a line of the steps journal."""
        self.add_call(line.headrace)
        self.note_journalled(line.headrace)
        self._response = line.response
        self.answers += line.headrace.answers or []

    def finish(self, task: Task) -> ItemResult:
        """The row's result when it has all its answers: a success if one of them can be read."""
        result, bad = ItemResult(self.index), self._first_error
        readable = [answer for answer in self.answers if answer is not None]
        if readable or bad is None or bad.error is None:
            return self._result(result, self._response, None, task)
        result.code, result.message = code_of(bad.error), encodable(str(bad.error))
        result.finish_reason = bad.finish_reason
        return self._result(result, self._response, LineError(result.code, result.message), task)

    def fail(self, result: ItemResult, line: OutputLine, task: Task) -> ItemResult:
        """The row's result after a call that was not answered; the answers before it stay in the line.

        Args:
            result: The result of that call.
            line: Its line, which was added with `add_call`.
            task: The task.
        """
        found = ItemResult(self.index, code=result.code, message=result.message, status=result.status)
        return self._result(found, line.response, line.error, task)

    def _result(
        self, result: ItemResult, response: LineResponse | None, error: LineError | None, task: Task
    ) -> ItemResult:
        notes = self._notes
        notes.completed_at = round(time.time(), 3)
        notes.digest, notes.answers = self.digest, self.answers
        notes.cost_in_steps = self._journalled or None
        if task.vote:
            notes.votes = count_votes(self.answers)
        if error is None and (task.choices or task.answer is not None):
            given = notes.votes or self.answers
            notes.answer = next(answer for answer in given if answer is not None)
        line = OutputLine(f"headrace-{self.index}", self.item.id, response, error, notes)
        result.line = encode_output_line(line)
        return result
