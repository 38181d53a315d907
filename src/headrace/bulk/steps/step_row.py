"""A row of a job with steps while its steps are performed, and the line that it gets."""

from __future__ import annotations

import time
from typing import Any

import attrs

from headrace.bulk.item_result import ItemResult
from headrace.bulk.line_encoding import encode_output_line
from headrace.bulk.line_sums import add_notes, spent_in
from headrace.bulk.output_line import LineError, LineNotes, LineResponse, OutputLine
from headrace.bulk.sources import Item


@attrs.define(eq=False)
class StepRow:
    """A row and what its steps have brought.

    Attributes:
        item: The row.
        index: Its number in the run.
        digest: Its digest; see `Task.digest`.
        fresh: Whether a cache must not answer; it may hold an answer that failed.
        place: The place of the step that is performed now or next, from 0.
        request: The digest of the request in flight; empty if there is none.
        answers: The answers by their columns, null for skipped steps.
        passed: The steps that were passed over, each with the name of its count, "skipped" or "reused".
    """

    item: Item
    index: int
    digest: int
    fresh: bool
    place: int = 0
    request: str = ""
    answers: dict[str, Any] = attrs.field(factory=dict)
    passed: list[tuple[str, str]] = attrs.field(factory=list)
    _notes: LineNotes = attrs.field(factory=lambda: LineNotes(0, 0.0))
    _response: LineResponse | None = None
    _answer: Any = None

    def take(self, column: str, line: OutputLine) -> None:
        """Add the answer of a step, from its line in the steps journal."""
        add_notes(self._notes, line.headrace)
        self.answers[column] = line.answer
        self._response, self._answer = line.response, line.headrace.answer

    def succeed(self, *, journalled: bool) -> ItemResult:
        """The row's result after its last step.

        Args:
            journalled: Whether the steps are in a journal that counts their cost.
        """
        return self._result(ItemResult(self.index), self._line(self._response, None, journalled))

    def fail(self, step: str, result: ItemResult, line: OutputLine, *, journalled: bool) -> ItemResult:
        """The row's result after a step that failed.

        Args:
            step: The name of the step.
            result: The result of its call.
            line: The line of that result, with its tokens.
            journalled: See `succeed`.
        """
        spent = spent_in(self._notes)
        add_notes(self._notes, line.headrace)
        assert line.error is not None
        message = f"step {step}: {line.error.message}"
        failed = self._line(line.response, LineError(line.error.code, message), False)
        failed.headrace.answer = None
        failed.headrace.cost_in_steps = (spent or None) if journalled else None
        found = ItemResult(self.index, code=result.code, message=f"step {step}: {result.message}")
        found.status, found.finish_reason = result.status, result.finish_reason
        return self._result(found, failed)

    def _line(self, response: LineResponse | None, error: LineError | None, journalled: bool) -> OutputLine:
        notes = self._notes
        notes.completed_at = round(time.time(), 3)
        notes.answer, notes.digest, notes.steps = self._answer, self.digest, self.answers
        notes.cost_in_steps = (spent_in(self._notes) or None) if journalled else None
        return OutputLine(f"headrace-{self.index}", self.item.id, response, error, notes)

    def _result(self, result: ItemResult, line: OutputLine) -> ItemResult:
        result.line = encode_output_line(line)
        return result
