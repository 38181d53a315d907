"""Compares two runs of the same input by their indexes: where their answers differ."""

from __future__ import annotations

import sqlite3

import msgspec

from headrace_view.index.query import PAGE
from headrace_view.index.rows import RowSummary, find_by_ids

_SHOWN = {
    "different": "rows.digest <> others.digest AND NOT rows.failed AND NOT others.failed",
    "same": "rows.digest = others.digest AND NOT rows.failed",
    "failed": "rows.failed <> others.failed",
    "all": "1",
}
_SEARCHED = """rows.id IN (
  SELECT rowid FROM main.words WHERE words MATCH ?
  UNION SELECT mine.id FROM other.words AS found CROSS JOIN other.rows AS its ON its.id = found.rowid
  CROSS JOIN main.rows AS mine ON mine.key = its.key WHERE found.words MATCH ?
)"""
_COUNT = """
SELECT count(*), sum(rows.digest <> others.digest AND NOT rows.failed AND NOT others.failed),
  sum(rows.failed <> others.failed), sum(rows.failed AND others.failed)
FROM rows JOIN other.rows AS others ON others.key = rows.key
"""


class Comparison(msgspec.Struct):
    """How the answers of two runs differ, in numbers of items.

    Attributes:
        both: Items that are in both runs.
        different: Items with different answers.
        failed_in_one: Items that failed in one of the runs.
        failed_in_both: Items that failed in both.
        only_first: Items that only the first run has.
        only_second: Items that only the second run has.
    """

    both: int
    different: int
    failed_in_one: int
    failed_in_both: int
    only_first: int
    only_second: int

    @property
    def same(self) -> int:
        """Items with the same answer."""
        return self.both - self.different - self.failed_in_one - self.failed_in_both


def compare(connection: sqlite3.Connection) -> Comparison:
    """Compare the rows of an index with those of ``other``."""
    numbers = connection.execute(_COUNT).fetchone()
    both, different, in_one, in_both = (number or 0 for number in numbers)
    (first,) = connection.execute("SELECT count(*) FROM main.rows").fetchone()
    (second,) = connection.execute("SELECT count(*) FROM other.rows").fetchone()
    return Comparison(both, different, in_one, in_both, first - both, second - both)


def find_pairs(
    connection: sqlite3.Connection, shown: str, page: int, search: str = ""
) -> list[tuple[RowSummary, RowSummary]]:
    """The rows of a page that both runs have.

    Args:
        connection: An index, with another attached.
        shown: "different", "same", "failed" (in one of the runs) or "all".
        page: The number of the page, from 0.
        search: What one of the rows of each pair must match, as `RowQuery.match`; empty for all pairs.
    """
    found = connection.execute(
        f"""
        SELECT rows.id, others.id FROM main.rows AS rows JOIN other.rows AS others ON others.key = rows.key
        WHERE {_SHOWN[shown]} {f"AND {_SEARCHED}" if search else ""} ORDER BY rows.id LIMIT ? OFFSET ?
        """,
        [*([search, search] if search else []), PAGE, page * PAGE],
    ).fetchall()
    first = find_by_ids(connection, [one for one, _ in found])
    second = find_by_ids(connection, [other for _, other in found], "other")
    return [(first[one], second[other]) for one, other in found if one in first and other in second]


def counted(comparison: Comparison, shown: str) -> int:
    """How many items a choice of `find_pairs` shows."""
    return {
        "different": comparison.different,
        "same": comparison.same,
        "failed": comparison.failed_in_one,
        "all": comparison.both,
    }[shown]
