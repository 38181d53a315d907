"""The rows that a report contains: each item with its status, answer and error."""

from __future__ import annotations

import math
from typing import Any

import attrs
import msgspec

from headrace.bulk.output_line import OutputLine

MOST_ROWS = 10_000
"""The most rows of a page."""

_LONGEST_ANSWER = 2000
_LONGEST_ID = 200
_LONGEST_MESSAGE = 400
"""Characters in a row."""


_KEPT = {"length": "cut off", "content_filter": "filtered", "refusal": "refused"}
"""The status of an incomplete answer that did not fail."""


class Row(msgspec.Struct, array_like=True, gc=False):
    """An item in the page. ``error`` is None for a success; ``place`` is the item's position in the input."""

    place: int
    id: str
    status: str
    answer: Any
    error: str | None


@attrs.define(eq=False)
class RowSample:
    """The rows of a page: failed ones first, and as many others as there is room for."""

    _failed: list[Row] = attrs.field(factory=list)
    _others: list[Row] = attrs.field(factory=list)
    number: int = 0

    def add(self, line: OutputLine, answer: Any, *, content: bool = True) -> None:
        """Add a line and its answer; without ``content``, only its id and its status."""
        self.number += 1
        rows = self._others if line.error is None else self._failed
        if len(rows) < MOST_ROWS:
            rows.append(_row(line, answer) if content else _row(line, None, content=False))

    @property
    def failed(self) -> list[Row]:
        """The failed rows of the page, in the order of the input."""
        return sorted(self._failed, key=_place)

    @property
    def left_out(self) -> int:
        """How many items have no row in the page."""
        return max(0, self.number - MOST_ROWS)

    def encode(self) -> str:
        """The rows in the order of the input, as JSON that no script element ends at."""
        rows = sorted(self._failed + self._others[: MOST_ROWS - len(self._failed)], key=_place)
        return msgspec.json.encode(rows).decode().replace("<", "\\u003c")


def _place(row: Row) -> int:
    return row.place


def _row(line: OutputLine, answer: Any, *, content: bool = True) -> Row:
    error = line.error
    reason = line.finish_reason
    if error is None:
        status = _KEPT.get(reason or "", "succeeded")
    else:
        detail = reason if line.answered else line.status
        status = " ".join(str(part) for part in (error.code, detail) if part is not None)
    if line.headrace.fingerprint:
        status = f"{status} ({line.headrace.fingerprint})"
    message = None if error is None else _cut(error.message if content else "", _LONGEST_MESSAGE)
    if error is not None and line.answered and content:
        answer = line.text  # it is shown with the reason why it failed
    return Row(line.index or 0, _cut(line.custom_id, _LONGEST_ID), status, _bounded(answer), message)


def _bounded(answer: Any) -> Any:
    """An answer of a bounded size; one that is too large is a text."""
    if isinstance(answer, str):
        return _cut(answer, _LONGEST_ANSWER)
    if isinstance(answer, float) and not math.isfinite(answer):
        return str(answer)
    content = msgspec.json.encode(answer).decode()
    return answer if len(content) <= _LONGEST_ANSWER else _cut(content, _LONGEST_ANSWER)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
