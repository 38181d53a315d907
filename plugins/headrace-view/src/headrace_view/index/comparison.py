"""Compares two runs of the same input by their indexes: where their answers differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from headrace_view.index.pair_search import matching
from headrace_view.index.pairs import DIFFERENT, FAILED_IN_BOTH, FAILED_IN_ONE, KINDS, SAME, Pairs
from headrace_view.index.query import PAGE
from headrace_view.index.rows import RowSummary, find_by_ids

SHOWN: Mapping[str, Sequence[int]] = {
    "different": (DIFFERENT,),
    "same": (SAME,),
    "failed": (FAILED_IN_ONE,),
    "all": KINDS,
}
"""What pairs can be shown, and their kinds."""

_FIRST = 20_000
"""Rows that are joined for the first page, before all others are."""

_TRIED = 2000
"""Pairs at the beginning among which a search is tried first: a common word is in enough of them."""

_BLOCK = 1 << 16


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


def compare(connection: sqlite3.Connection, pairs: Pairs) -> Comparison:
    """Compare the rows of an index with those of ``other``."""
    with pairs.lock:
        pairs.update(connection)
        number = pairs.kinds.count
        both = sum(number(kind) for kind in KINDS)
        first, second = pairs.rows
        counts = number(DIFFERENT), number(FAILED_IN_ONE), number(FAILED_IN_BOTH)
        return Comparison(both, *counts, first - both, second - both)


def find_pairs(
    connection: sqlite3.Connection, pairs: Pairs, shown: str, page: int, search: str = ""
) -> list[tuple[RowSummary, RowSummary]]:
    """The rows of a page that both runs have, in the order of the first run.

    Args:
        connection: An index, with another attached, in one transaction.
        pairs: Their pairs, which are updated.
        shown: A key of `SHOWN`.
        page: The number of the page, from 0.
        search: What one of the rows of each pair must match, as `RowQuery.match`; empty for all pairs.
    """
    with pairs.lock:
        rows: list[int] = []
        for most in (None,) if pairs.until else (_FIRST, None):
            pairs.update(connection, most)
            if len(rows := _page(connection, pairs, shown, page, search)) == PAGE:
                break
        others = [pairs.others[row] for row in rows]
    first = find_by_ids(connection, rows)
    second = find_by_ids(connection, others, "other")
    return [(first[row], second[other]) for row, other in zip(rows, others, strict=True)]


def other_row(connection: sqlite3.Connection, row: int) -> int | None:
    """The row of ``other`` that is of the same item as a row of the first index; None if it has none."""
    its = "SELECT id FROM other.rows WHERE key = (SELECT key FROM main.rows WHERE id = ?)"
    found = connection.execute(its, [row]).fetchone()
    return found[0] if found else None


def _page(connection: sqlite3.Connection, pairs: Pairs, shown: str, page: int, search: str) -> list[int]:
    """The numbers of the rows of a page, in the first run."""
    mask = pairs.kinds.translate(bytes(kind in SHOWN[shown] for kind in range(256)))
    begin, rows = page * PAGE, []
    if not search or 1 not in mask:
        return list(_ones(mask, begin, PAGE))
    for last in (next(_ones(mask, _TRIED, 1), pairs.until), pairs.until):
        found = matching(connection, pairs, search, last)
        both = int.from_bytes(mask, "little") & int.from_bytes(found, "little")
        rows = list(_ones(both.to_bytes(len(mask), "little")[: last + 1], begin, PAGE))
        if len(rows) == PAGE:
            break
    return rows


def _ones(mask: bytes | bytearray, begin: int, most: int) -> Iterator[int]:
    """The places of so many ones of a mask, after ``begin`` other ones."""
    place, left = 0, begin
    while place < len(mask) and (number := mask.count(1, place, place + _BLOCK)) <= left:
        left -= number
        place += _BLOCK
    for _ in range(left + most):
        place = mask.find(1, place) + 1
        if not place:
            return
        if left:
            left -= 1
        else:
            yield place - 1
