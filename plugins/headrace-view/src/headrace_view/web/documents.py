"""What the page gets as JSON about a run as a whole, and about one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from headrace import Headers, InvalidReply, Reply
from headrace.bulk import OutputLine
from headrace_view.charts import Bucket
from headrace_view.index import Totals
from headrace_view.index.line_facts import PICO, shown_answer
from headrace_view.prompts import plain

_MOST_BUCKETS = 120
_MOST_VALUES = 100
"""Answers, or kinds of errors, to choose a filter from."""

_FEW = 20
_MOST_ZEROS = 20

_LONGEST = 200_000
"""Characters of a text of one row; the output holds all of it."""


class Draw(Protocol):
    """Draws the charts of a run, as HTML by name."""

    def __call__(
        self, buckets: Sequence[Bucket], *, width_seconds: float, live: bool
    ) -> Mapping[str, str]: ...


def figures_document(totals: Totals) -> dict[str, Any]:
    """The figures of a run, or of several together."""
    active = totals.active_seconds
    since, until = min(totals.buckets, default=None), max(totals.buckets, default=None)
    return {
        "rows": totals.rows,
        "succeeded": totals.rows - totals.failed,
        "failed": totals.failed,
        "retries": totals.retries,
        "tokens_in": totals.tokens_in,
        "tokens_out": totals.tokens_out,
        "cost": totals.cost / PICO if totals.priced else None,
        "unpriced": totals.rows - totals.priced,
        "damaged": totals.damaged,
        "latency": {f"p{percent}": totals.percentile(percent) for percent in (50, 95, 99)},
        "seconds": active,
        "rate": totals.rows / active if active else None,
        "since": None if since is None else since * totals.width,
        "until": None if until is None else (until + 1) * totals.width,
    }


def totals_document(totals: Totals, *, content: bool) -> dict[str, Any]:
    """The figures of a run, or of several together, and the values of its filters.

    Args:
        totals: Of its rows.
        content: Whether answers are shown.
    """
    return {
        **figures_document(totals),
        "codes": _frequent(totals.codes),
        "statuses": _frequent(totals.statuses),
        "reasons": _frequent(totals.reasons),
        "answers": _repeated(totals.answers) if content else [],
    }


def charts_document(totals: Totals, draw: Draw, *, live: bool) -> dict[str, str]:
    """The charts of a run, or of several together, as HTML by name.

    Args:
        totals: Of its rows.
        draw: Draws the charts.
        live: Whether the run goes on.
    """
    buckets = totals.over_time(_MOST_BUCKETS)
    width = buckets[0].width if buckets else 1.0
    charts = draw(buckets, width_seconds=width, live=live)
    return {name: str(html) for name, html in charts.items()}


def _frequent(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda each: (-each[1], each[0]))[:_MOST_VALUES]


def _repeated(answers: dict[str, int]) -> list[tuple[str, int]]:
    """The answers to choose from: all of a few, and of many those that came more than once."""
    return [each for each in _frequent(answers) if len(answers) <= _FEW or each[1] > 1]


def row_document(line: OutputLine, *, content: bool) -> dict[str, Any]:
    """All of a row: what its line holds, without answers if ``content`` is false."""
    notes, error, response = line.headrace, line.error, line.response
    reply = None if response is None else Reply(response.status_code or 0, Headers([]), bytes(response.body))
    found: dict[str, Any] = {
        "id": bounded(line.custom_id),
        "line": line.index,
        "status": line.status,
        "request_id": None if response is None else response.request_id,
        "failed": error is not None,
        "code": None if error is None else error.code,
        "reason": line.finish_reason,
        "attempts": notes.attempts,
        "latency": notes.elapsed,
        "done_at": notes.completed_at,
        "cost": _money(notes.cost),
        "possible_cost": _money(notes.possible_cost),
        "content": content,
    }
    if not content:
        return found
    message = "" if error is None else error.message
    found |= {"message": bounded(message), "answer": bounded(shown_answer(line))}
    found |= {"steps": None, "answers": None, "votes": notes.votes}
    if line.steps is not None:
        found["steps"] = [(name, bounded(answer)) for name, answer in line.steps.items()]
    elif line.answers is not None:
        found["answers"] = [bounded(answer) for answer in line.answers]
    found["reasoning"] = "" if reply is None else bounded(_reasoning(reply))
    # An answer that is not typed is the text; reading it twice takes long for a huge one.
    found["text"] = bounded((line.text or "") if notes.answer is not None or line.steps else "")
    found["body"] = "" if response is None else bounded(_formatted(bytes(response.body)))
    return found


def _money(cost: Decimal | None) -> str | None:
    """All digits of a cost, but not the zeros of an absurd one."""
    if cost is None:
        return None
    return f"{cost:f}" if abs(cost.adjusted()) <= _MOST_ZEROS else str(cost)


def _reasoning(reply: Reply) -> str:
    try:
        return reply.reasoning
    except InvalidReply:
        return ""


def _formatted(body: bytes) -> str:
    """A body with a member a line; one that is too large for the page as it is."""
    if len(body) > _LONGEST:
        return body[: 4 * _LONGEST].decode("utf-8", "replace")
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8", "replace")
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def bounded(value: Any) -> dict[str, Any]:
    """A text, or JSON as text, of a bounded length with the number of characters that are left out."""
    text = value if isinstance(value, str) else ""
    is_json = value is not None and not isinstance(value, str)
    if is_json:
        text = msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode()
    return {"text": text[:_LONGEST], "more": max(0, len(text) - _LONGEST), "json": is_json}


def encode_json(value: Any) -> bytes:
    """A value as JSON for the page; the name of an output need not be UTF-8."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode()  # it escapes lone surrogates
