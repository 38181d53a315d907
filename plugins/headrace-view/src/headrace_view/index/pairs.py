"""Which rows of two runs are of the same item, and how their answers compare, as arrays in memory.

They take nine bytes a row. Two indexes are joined once; later only rows are joined that are new since.
"""

from __future__ import annotations

import sqlite3
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from headrace_view.index.schema import numbers_before

if TYPE_CHECKING:
    from headrace_view.index.pair_search import FoundPairs

DIFFERENT, SAME, FAILED_IN_ONE, FAILED_IN_BOTH = KINDS = range(1, 5)
"""How the rows of a pair compare. A row without a pair, or that was superseded, has 0."""

_KIND = f"""CASE WHEN mine.digest AND its.digest THEN iif(mine.digest = its.digest, {SAME}, {DIFFERENT})
  WHEN mine.digest OR its.digest THEN {FAILED_IN_ONE} ELSE {FAILED_IN_BOTH} END"""
_JOIN = f"""
SELECT json_group_array(mine.id), json_group_array(its.id), json_group_array({_KIND}) FROM
"""
_BY_KEY = f"""{_JOIN} main.rows AS mine INDEXED BY rows_key CROSS JOIN other.rows AS its INDEXED BY rows_key
ON its.key = mine.key WHERE mine.key BETWEEN ? AND ? AND mine.id > ? AND mine.id <= ?"""
_OF_FIRST = f"""{_JOIN} main.rows AS mine NOT INDEXED CROSS JOIN other.rows AS its INDEXED BY rows_key
ON its.key = mine.key WHERE mine.id > ? AND mine.id <= ?"""
_OF_SECOND = f"""{_JOIN} other.rows AS its NOT INDEXED CROSS JOIN main.rows AS mine INDEXED BY rows_key
ON mine.key = its.key WHERE its.id > ? AND mine.id <= ?"""
"""All rows are joined in the order of their keys, which both indexes have; a few in the order of rows."""

_MANY = 50_000
"""Rows from which they are joined by key, in parts of about so many: a part is in memory as a whole."""

_KEYS = 1 << 63
"""Keys are hashes from minus this on, and below this."""

_decode = msgspec.json.Decoder(list[int]).decode


class Pairs:
    """The pairs of two indexes. The rows of the first are known by their numbers.

    Attributes:
        lock: To be held while it is used: `update` changes it.
        until: The last row of the first index that is joined.
        kinds: How each row of the first index compares; see `KINDS`.
        others: The row of the second index that belongs to each row of the first.
        firsts: The row of the first index that belongs to each row of the second.
        version: A number that grows with each change.
        searched: What the last search has found in them.
    """

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        self.until: int = 0
        self.kinds: bytearray = bytearray(1)
        self.others: array[int] = array("I", [0])
        self.firsts: array[int] = array("I", [0])
        self.version: int = 0
        self.searched: FoundPairs | None = None
        self._other_until = 0
        self._superseded = 0, 0
        self._before = 0, 0

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows each index has, without superseded ones, if it is joined as a whole."""
        absent, others_absent = map(sum, zip(self._superseded, self._before, strict=True))
        return len(self.kinds) - 1 - absent, len(self.firsts) - 1 - others_absent

    def update(self, connection: sqlite3.Connection, most: int | None = None) -> None:
        """Join the rows that are new.

        Args:
            connection: The first index, with the second attached as ``other``, in one transaction.
            most: The last row of the first index to join; None for all rows.
        """
        last, other_last = _last(connection, "main"), _last(connection, "other")
        before, until = self.until, last if most is None else min(last, most)
        if (until, other_last) == (before, self._other_until):
            return
        self._before = numbers_before(connection, "main"), numbers_before(connection, "other")
        self.kinds.extend(bytes(last + 1 - len(self.kinds)))
        for each, size in ((self.others, last), (self.firsts, other_last)):
            each.frombytes(bytes(each.itemsize * (size + 1 - len(each))))
        superseded = self._forget_superseded(connection)
        if before:
            self._join(connection, _OF_SECOND, [self._other_until, before])
        if until - before < _MANY:
            self._join(connection, _OF_FIRST, [before, until])
        else:
            for low, high in _slices(until - before):
                self._join(connection, _BY_KEY, [low, high, before, until])
        # Last of all: after an error, the same is done again, which changes nothing that is done.
        self.until, self._other_until, self._superseded = until, other_last, superseded
        self.version += 1

    def _join(self, connection: sqlite3.Connection, join: str, values: Sequence[int]) -> None:
        kinds, others, firsts = self.kinds, self.others, self.firsts
        rows, its, found = map(_decode, connection.execute(join, values).fetchone())
        for row, other, kind in zip(rows, its, found, strict=True):
            kinds[row], others[row], firsts[other] = kind, other, row

    def _forget_superseded(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Leave out rows that have a newer line; returns how many rows of each index have one."""
        first, second = self._superseded
        rows = _superseded_since(connection, "main", first)
        others = _superseded_since(connection, "other", second)
        self._forget(rows)
        self._forget(self.firsts[other] for other in others)
        return first + len(rows), second + len(others)

    def _forget(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.firsts[self.others[row]] = 0
            self.kinds[row] = self.others[row] = 0


def read_column(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[int]:
    """The numbers of a query that makes one JSON array, which is faster than a row for each."""
    return _decode(connection.execute(query, values).fetchone()[0])


def _last(connection: sqlite3.Connection, index: str) -> int:
    """The number of the last row of an index."""
    (last,) = connection.execute(f"SELECT max(id) FROM {index}.rows").fetchone()
    return last or numbers_before(connection, index)


def _superseded_since(connection: sqlite3.Connection, index: str, number: int) -> list[int]:
    """The rows that were superseded after so many others."""
    query = f"SELECT json_group_array(row) FROM {index}.superseded WHERE number > ?"
    return read_column(connection, query, [number])


def _slices(rows: int) -> Iterator[tuple[int, int]]:
    """The first and the last key of parts, of which each has about `_MANY` of so many rows."""
    number = rows // _MANY + 1
    for part in range(number):
        yield 2 * _KEYS * part // number - _KEYS, 2 * _KEYS * (part + 1) // number - _KEYS - 1
