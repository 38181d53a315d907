"""The items of two runs beside each other, with what differs in their answers marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headrace_view.index import RowSummary, line_of, open_for_reading
from headrace_view.index.line_facts import as_text, cut, shown_answer
from headrace_view.runs import ViewedRun
from headrace_view.web.differences import mark_differences

_LONGEST = 4000
"""Characters of an answer that are shown beside the other one."""


def compared(
    first: ViewedRun, second: ViewedRun, pairs: Iterable[tuple[RowSummary, RowSummary]]
) -> Iterator[dict[str, Any]]:
    """The rows of each pair and what differs in them; their answers are longer than in the index."""
    for pair in pairs:
        for run, row in zip((first, second), pair, strict=True):
            if row.answer.endswith("…"):
                row.answer = _answer(run, row)
        yield {"rows": pair, "marks": mark_differences(pair[0].answer, pair[1].answer)}


def without_content(pairs: Iterable[tuple[RowSummary, RowSummary]]) -> Iterator[dict[str, Any]]:
    """The rows of each pair without answers and messages."""
    for pair in pairs:
        for row in pair:
            row.answer = row.message = ""
        yield {"rows": pair, "marks": ([], [])}


def _answer(run: ViewedRun, row: RowSummary) -> str:
    with open_for_reading(run.place.database) as connection:
        line = line_of(connection, run.journal, row.row)
    return row.answer if line is None else cut(as_text(shown_answer(line)), _LONGEST)
