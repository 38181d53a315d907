"""Finds rows in an index, and their lines in the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from headrace.bulk import OutputLine, decode_line, open_regular
from headrace_view.index.line_facts import PICO, key_of
from headrace_view.index.query import PAGE, RowQuery
from headrace_view.index.schema import facet_words

_MOST_COUNTED = 10_000
"""Rows found by a search that are counted; a common word is in too many."""

_TRIED = 2000
"""Rows at the beginning of an order among which a search is tried first."""

_TRIED_BEFORE = 4
"""Further ones for each row of the pages before."""

_SHOWN = """
rows.id, texts.name, rows.failed, rows.status, code.text, reason.text, texts.preview, texts.message,
rows.elapsed, rows.cost, rows.attempts, rows.done_at
"""
_TEXTS = """
FROM {0}.rows AS rows JOIN {0}.texts AS texts ON texts.id = rows.id
LEFT JOIN {0}.terms AS code ON code.id = rows.code LEFT JOIN {0}.terms AS reason ON reason.id = rows.reason
WHERE rows.id IN (SELECT value FROM json_each(?))
"""


class RowSummary(msgspec.Struct):
    """A row of the table. ``latency`` is in seconds, ``cost`` in USD, ``done_at`` in Unix seconds."""

    row: int
    id: str
    failed: bool
    status: int | None
    code: str | None
    reason: str | None
    answer: str
    message: str
    latency: float
    cost: float | None
    attempts: int
    done_at: float | None


def find_rows(connection: sqlite3.Connection, query: RowQuery) -> list[RowSummary]:
    """The rows of the page that a query asks for."""
    begin = query.page * PAGE
    if query.reachable is not None and begin >= query.reachable:
        return []
    found, values = _from(connection, query)
    order: list[int] = []
    if query.match and query.order != "line" and begin < _TRIED:
        # A common word is in enough of the first rows, so that the others need not be looked up and sorted.
        ranges, limits = query.ranges()
        where = f"WHERE {' AND '.join(ranges)}" if ranges else ""
        tried = _TRIED + _TRIED_BEFORE * begin
        first = f"AND +words.rowid IN (SELECT id FROM rows {where} ORDER BY {query.order_by} LIMIT {tried})"
        order = _page(connection, f"{found} {first}", [*values, *limits], query)
    if len(order) < PAGE:
        order = _page(connection, found, values, query)
    by_id = find_by_ids(connection, order)
    return [by_id[id] for id in order if id in by_id]


def _page(connection: sqlite3.Connection, found: str, values: Sequence[object], query: RowQuery) -> list[int]:
    """The numbers of the rows of the page."""
    ids = f"SELECT rows.id {found} ORDER BY {query.order_by} LIMIT ? OFFSET ?"
    return [id for (id,) in connection.execute(ids, [*values, PAGE, query.page * PAGE])]


def find_by_ids(
    connection: sqlite3.Connection, ids: Sequence[int], index: str = "main"
) -> dict[int, RowSummary]:
    """Rows by their numbers, in an index or in the one that is attached as ``other``."""
    shown = connection.execute(
        f"SELECT {_SHOWN} {_TEXTS.format(index)}",
        [msgspec.json.encode(ids).decode()],
    )
    return {row[0]: _summary(*row) for row in shown}


def count_rows(connection: sqlite3.Connection, query: RowQuery) -> tuple[int, bool]:
    """How many rows a query finds, and whether that is all: a search counts only so many."""
    found, values = _from(connection, query)
    if not query.match:
        (number,) = connection.execute(f"SELECT count(*) {found}", values).fetchone()
        return number, True
    counted = f"SELECT count(*) FROM (SELECT 1 {found} LIMIT ?)"
    (number,) = connection.execute(counted, [*values, _MOST_COUNTED + 1]).fetchone()
    return min(number, _MOST_COUNTED), number <= _MOST_COUNTED


def _from(connection: sqlite3.Connection, query: RowQuery) -> tuple[str, list[object]]:
    """The tables and conditions of a query, with their values."""
    if not query.match:
        conditions, values = query.conditions()
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"FROM rows {query.index} {where}", values
    conditions, values = query.ranges()
    terms = [_term(connection, *facet) for facet in query.facets]
    failed = query.outcome == "failed" if query.outcome else None
    facets = facet_words(failed, {"none": None}.get(query.status, query.status), terms)
    match = f"{query.match} AND facets : ({' AND '.join(facets.split())})" if facets else query.match
    tables = "FROM words CROSS JOIN rows ON rows.id = words.rowid"
    return f"{tables} WHERE {' AND '.join(['words MATCH ?', *conditions])}", [match, *values]


def _term(connection: sqlite3.Connection, kind: str, text: str) -> int:
    """The number of a term; 0, which no row has, for an unknown one."""
    found = connection.execute("SELECT id FROM terms WHERE kind = ? AND text = ?", [kind, text]).fetchone()
    return found[0] if found else 0


def _summary(
    row: int,
    id: str,
    failed: int,
    status: int | None,
    code: str | None,
    reason: str | None,
    answer: str,
    message: str,
    elapsed: int,
    cost: int | None,
    attempts: int,
    done_at: int | None,
) -> RowSummary:
    seconds = None if done_at is None else done_at / 1000
    usd = None if cost is None else cost / PICO
    about = (row, id, bool(failed), status, code, reason, answer, message)
    return RowSummary(*about, elapsed / 1e6, usd, attempts, seconds)


def line_of(connection: sqlite3.Connection, journal: Path, row: int) -> OutputLine | None:
    """The whole line of a row; None if the row is superseded or its line is not in the journal anymore."""
    found = connection.execute("SELECT start, length, key FROM rows WHERE id = ?", [row]).fetchone()
    if found is None:
        return None
    start, length, key = found
    try:
        with open_regular(journal) as file:
            file.seek(start)
            line = decode_line(file.read(length))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return line if key_of(line.custom_id) == key else None
