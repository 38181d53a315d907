"""The figures of a report, counted line by line in constant memory."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from decimal import Decimal
from typing import Any

import attrs

from headrace._support.units import format_count
from headrace.bulk.item_result import ItemResult
from headrace.bulk.output_line import OutputLine
from headrace.bulk.report.answers import AnswerDistribution
from headrace.bulk.report.rows import RowSample
from headrace.bulk.report.timeline import Timeline
from headrace.bulk.summary import Summary
from headrace.bulk.tables.answer_columns import answer_columns
from headrace.errors import InvalidReply
from headrace.replies import Headers, Reply, Usage
from headrace.wire.reply_bodies import read_reply_body

MANY_ATTEMPTS = 10
"""This many attempts and more are counted together."""

_MOST_MODELS = 50
_OTHERS = "other models"
_UNNAMED = "not named in the answer"
_OF_STEPS = "the models of all steps"
"""What the answers to a job with steps are counted as: a line has the model of its last step only."""

_LONGEST_MESSAGE = 400


@attrs.define(eq=False)
class ModelTotals:
    """The totals of one model; ``cost`` in USD, None until an answer has a price."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None

    def add(self, usage: Usage, cost: Decimal | None) -> None:
        """Add an answer."""
        self.answers += 1
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        if cost is not None:
            self.cost = cost if self.cost is None else self.cost + cost


@attrs.define(eq=False)
class Statistics:
    """The totals of all lines of an output, from all sessions of the run.

    Attributes:
        content: Whether answers and messages of errors are kept.
        summary: Counted as a run counts it.
        models: Totals by the model that answered.
        attempts: The number of items by their number of attempts.
        timeline: When items were done.
        answers: How the answers are distributed.
        rows: The rows to show.
        fingerprints: The number of items by the number of their fingerprint; see `LineNotes`.
        undated: The number of lines without a time.
        torn: Whether the last line had no line feed.
    """

    content: bool = True
    summary: Summary = attrs.field(factory=lambda: Summary(0))
    models: dict[str, ModelTotals] = attrs.field(factory=dict)
    attempts: Counter[int] = attrs.field(factory=Counter)
    timeline: Timeline = attrs.field(factory=Timeline, repr=False)
    answers: AnswerDistribution = attrs.field(factory=AnswerDistribution, repr=False)
    rows: RowSample = attrs.field(factory=RowSample, repr=False)
    fingerprints: Counter[int] = attrs.field(factory=Counter)
    undated: int = 0
    torn: bool = False

    @property
    def items(self) -> int:
        """The number of lines."""
        return self.summary.succeeded + self.summary.failed

    def add(self, line: OutputLine) -> None:
        """Add a line."""
        notes, error = line.headrace, line.error
        usage, answered = Usage(), line.answered
        has_sums = line.steps is not None or line.answers is not None
        if has_sums:  # also of a failed item, whose earlier calls were answered
            usage = Usage(notes.prompt_tokens, notes.completion_tokens)
            answered = answered or bool(usage.prompt_tokens)
        if answered:
            model, used = (_OF_STEPS, usage) if line.steps is not None else _model_and_usage(line)
            used = usage if has_sums else used
            usage = used if notes.attempts else Usage()  # an answer from a cache takes no tokens
            if model not in self.models and len(self.models) >= _MOST_MODELS:
                model = _OTHERS
            self.models.setdefault(model, ModelTotals()).add(usage, notes.cost)
        self.summary.add(
            ItemResult(
                0,
                attempts=notes.attempts,
                elapsed=notes.elapsed,
                answered=answered,
                prompt_tokens=usage.prompt_tokens or 0,
                completion_tokens=usage.completion_tokens or 0,
                cost=notes.cost,
                code=None if error is None else error.code,
                message="" if error is None or not self.content else _cut(error.message),
                status=None if error is None or line.answered else line.status,
                possible_cost=notes.possible_cost,
                finish_reason=line.finish_reason,
            )
        )
        self.rows.add(line, self._count_answer(line), content=self.content)
        self.fingerprints[notes.fingerprint] += 1
        self.attempts[min(notes.attempts, MANY_ATTEMPTS)] += 1
        if notes.completed_at is None:
            self.undated += 1
        else:
            self.timeline.add(notes.completed_at, notes.elapsed, failed=error is not None)

    def _count_answer(self, line: OutputLine) -> Any:
        """Count the answer of an item; returns it as the item's row shows it."""
        if (vector := line.vector) is not None:
            if self.content:
                self.answers.add_vector(len(vector))
            return f"a vector of {format_count(len(vector), 'number')}"
        shown: Any = line.answer if line.steps is None else answer_columns(line)
        counted = [shown]
        if line.error is None and line.answers is not None and line.headrace.votes is None:
            counted = shown = line.answers
        for answer in counted:
            if answer is not None and self.content:
                self.answers.add(answer, fixed=isinstance(line.headrace.answer, str))
        return shown


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"


def _model_and_usage(line: OutputLine) -> tuple[str, Usage]:
    """The model and usage of a body, found as in any reply; empty if it has none."""
    if line.response is None:  # an earlier call of the item was answered
        return _UNNAMED, Usage()
    reply = Reply(200, Headers([]), bytes(line.response.body))
    with suppress(InvalidReply):
        read_reply_body(reply)
    return reply.model or _UNNAMED, reply.usage or Usage()
