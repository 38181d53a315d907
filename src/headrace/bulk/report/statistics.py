"""What a report says of a run, counted a line at a time in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from decimal import Decimal

import attrs

from headrace.bulk.records import Record
from headrace.bulk.report.timeline import Timeline
from headrace.bulk.result import Result
from headrace.bulk.summary import Summary
from headrace.errors import InvalidReply
from headrace.replies import Headers, Reply, Usage
from headrace.wire.reply_bodies import read_reply_body

MANY_ATTEMPTS = 10
"""So many and more are counted as one."""

_MOST_MODELS = 50
_OTHERS = "other models"
_UNNAMED = "not named in the answer"
_LONGEST_EXAMPLE = 400


@attrs.define(eq=False)
class ModelTotals:
    """What the answers of one model took; ``cost`` in USD, None until one has a price."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None

    def add(self, usage: Usage, cost: Decimal | None) -> None:
        """Count an answer."""
        self.answers += 1
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        if cost is not None:
            self.cost = cost if self.cost is None else self.cost + cost


@attrs.define(eq=False)
class Statistics:
    """Totals of all lines of an output, those of earlier sessions of the run included.

    ``summary`` counts as a run's own does. ``models`` are by the model that answered, ``attempts`` the items
    by their number of attempts, ``undated`` the lines that do not say when their item was done. ``torn``: a
    last line had no end.
    """

    summary: Summary = attrs.field(factory=lambda: Summary(0))
    models: dict[str, ModelTotals] = attrs.field(factory=dict)
    attempts: Counter[int] = attrs.field(factory=Counter)
    timeline: Timeline = attrs.field(factory=Timeline, repr=False)
    undated: int = 0
    torn: bool = False

    @property
    def items(self) -> int:
        """The lines counted."""
        return self.summary.succeeded + self.summary.failed

    def add(self, record: Record) -> None:
        """Count a line."""
        notes, error = record.headrace, record.error
        usage = Usage()
        if record.answered:
            model, usage = _model_and_usage(record)
            if not notes.attempts:
                usage = Usage()  # a cache's answer took no tokens
            if model not in self.models and len(self.models) >= _MOST_MODELS:
                model = _OTHERS
            self.models.setdefault(model, ModelTotals()).add(usage, notes.cost)
        self.summary.add(
            Result(
                0,
                attempts=notes.attempts,
                elapsed=notes.elapsed,
                answered=record.answered,
                prompt_tokens=usage.prompt_tokens or 0,
                completion_tokens=usage.completion_tokens or 0,
                cost=notes.cost,
                code=None if error is None else error.code,
                message="" if error is None else _cut(error.message),
                status=None if error is None or record.answered else record.status,
                possible_cost=notes.possible_cost,
            )
        )
        self.attempts[min(notes.attempts, MANY_ATTEMPTS)] += 1
        if notes.completed_at is None:
            self.undated += 1
        else:
            self.timeline.add(notes.completed_at, notes.elapsed, failed=error is not None)


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_EXAMPLE else f"{message[: _LONGEST_EXAMPLE - 1]}…"


def _model_and_usage(record: Record) -> tuple[str, Usage]:
    """Both as a reply's are read; a body that has neither counts as nothing."""
    assert record.response is not None
    reply = Reply(200, Headers([]), bytes(record.response.body))
    with suppress(InvalidReply):
        read_reply_body(reply)
    return reply.model or _UNNAMED, reply.usage or Usage()
