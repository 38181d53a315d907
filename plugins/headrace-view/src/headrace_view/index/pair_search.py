"""Finds the pairs of which one row matches a search."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import attrs

from headrace_view.index.pairs import Pairs, read_column

_MATCHES = "SELECT json_group_array(rowid) FROM {0}.words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
_MANY = 1 << 20
"""Rows of which matches are in memory at once."""


@attrs.define
class FoundPairs:
    """What a search has found in some pairs.

    Attributes:
        search: The search.
        version: The version of the pairs.
        found: A one for each row of the first run that matches, or of which the other row does.
        until: The last row of the first run that was searched.
        other_until: The last row of the second run that was searched.
    """

    search: str
    version: int
    found: bytearray
    until: int = 0
    other_until: int = 0


def matching(connection: sqlite3.Connection, pairs: Pairs, search: str, last: int) -> bytearray:
    """A one for each row of the first run that matches a search, or of which the other row does.

    The last search is kept, for its other pages.

    Args:
        connection: The first index, with the second attached as ``other``.
        pairs: Their pairs.
        search: The search, as `RowQuery.match`.
        last: The last row that is needed; later ones may be left out.
    """
    known = pairs.searched
    if known is None or (known.search, known.version) != (search, pairs.version):
        known = pairs.searched = FoundPairs(search, pairs.version, bytearray(len(pairs.kinds)))
    found, firsts = known.found, pairs.firsts
    if last > known.until:
        for row in _matches(connection, "main", search, known.until, last):
            found[row] = 1
        known.until = last
    other_last = max(pairs.others[: last + 1]) if last < pairs.until else len(firsts) - 1
    if other_last > known.other_until:
        for other in _matches(connection, "other", search, known.other_until, other_last):
            found[firsts[other]] = 1  # without a pair, this is row 0, which no run has
        known.other_until = other_last
    return found


def _matches(connection: sqlite3.Connection, index: str, search: str, after: int, last: int) -> Iterator[int]:
    query = _MATCHES.format(index)
    for begin in range(after + 1, last + 1, _MANY):
        yield from read_column(connection, query, [search, begin, min(last, begin + _MANY - 1)])
