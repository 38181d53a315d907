"""The items of two runs beside each other, with what differs in their answers marked."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.bulk import OutputLine
from headrace_view.index import Pairs, RowSummary, line_of, open_for_reading, other_row
from headrace_view.index.line_facts import as_text, cut, shown_answer
from headrace_view.runs import ViewedRun
from headrace_view.web.differences import mark_differences
from headrace_view.web.documents import row_document

_LONGEST = 4000
"""Characters of an answer that are shown beside the other one."""

_KEPT = 3
"""Comparisons whose pairs are kept."""


class OpenComparisons:
    """The comparisons that were asked for last, each with its pairs, which are found once."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[Path, Path], Pairs] = {}
        self._lock = threading.Lock()

    @contextmanager
    def open(self, run: ViewedRun, other: ViewedRun) -> Iterator[tuple[sqlite3.Connection, Pairs]]:
        """The indexes of two runs for a block, and their pairs."""
        indexes = run.place.database, other.place.database  # an index that is made anew has another name
        with self._lock:
            pairs = self._pairs[indexes] = self._pairs.pop(indexes) if indexes in self._pairs else Pairs()
            for old in list(self._pairs)[:-_KEPT]:
                del self._pairs[old]
        with open_for_reading(*indexes) as connection:
            yield connection, pairs


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


def compared_rows(
    first: ViewedRun, second: ViewedRun, row: int, *, content: bool
) -> list[dict[str, Any]] | None:
    """All of the rows of an item in two runs, each with its number; None if it is not in both.

    Args:
        first: A run.
        second: Another run.
        row: The number of the row in the first run.
        content: Whether answers are shown; what differs in them is marked.
    """
    with open_for_reading(first.place.database, second.place.database) as connection:
        other = other_row(connection, row)
    if other is None:
        return None
    found: list[dict[str, Any]] = []
    for run, number in ((first, row), (second, other)):
        line = _line(run, number)
        if line is None:
            return None
        found.append({"row": number, **row_document(line, content=content)})
    if content and not any(each["failed"] for each in found):  # else all would be marked
        answers, others = map(_answers, found)
        for name in answers.keys() & others.keys():
            one, its = answers[name], others[name]
            one["marks"], its["marks"] = mark_differences(one["text"], its["text"])
    return found


def _answers(row: dict[str, Any]) -> dict[str | int, dict[str, Any]]:
    """The texts of the answers of a row: of its steps by name, or of its samples by number."""
    if row["steps"] is not None:
        return dict(row["steps"])
    return dict(enumerate(row["answers"] or [row["answer"]]))


def _line(run: ViewedRun, row: int) -> OutputLine | None:
    with open_for_reading(run.place.database) as connection:
        return line_of(connection, run.journal, row)


def _answer(run: ViewedRun, row: RowSummary) -> str:
    line = _line(run, row.row)
    return row.answer if line is None else cut(as_text(shown_answer(line)), _LONGEST)
