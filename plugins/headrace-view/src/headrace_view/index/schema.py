"""The tables of an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = 2

_TABLES = """
CREATE TABLE state(version INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE terms(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, text TEXT NOT NULL, UNIQUE(kind, text));
CREATE TABLE rows(
  id INTEGER PRIMARY KEY, key INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  failed INTEGER NOT NULL, status INTEGER, code INTEGER, reason INTEGER, answer INTEGER,
  digest INTEGER NOT NULL, elapsed INTEGER NOT NULL, cost INTEGER, attempts INTEGER NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, done_at INTEGER
);
CREATE INDEX rows_key ON rows(key, digest);
CREATE INDEX rows_elapsed ON rows(elapsed, cost, status, failed);
CREATE INDEX rows_cost ON rows(cost, elapsed);
CREATE INDEX rows_failed ON rows(code, elapsed, cost) WHERE failed = 1;
CREATE INDEX rows_answer ON rows(answer, elapsed, cost) WHERE answer IS NOT NULL;
CREATE INDEX rows_reason ON rows(reason, elapsed, cost);
CREATE TABLE texts(id INTEGER PRIMARY KEY, name TEXT NOT NULL, preview TEXT NOT NULL, message TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(name, answer, message, facets, content='');
CREATE TABLE superseded(number INTEGER PRIMARY KEY, row INTEGER NOT NULL);
"""
"""``rows`` is narrow, because filters may read all of it. ``facets`` has words for what rows can be filtered
by, so that a search with a filter is one search. ``words`` keeps the words of superseded lines: their rows
are gone, so a join with ``rows`` leaves them out. ``superseded`` has their numbers, counted from 1."""

_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def spaced(text: str) -> str:
    """The text with spaces around the characters of scripts that have none between words."""
    return text if text.isascii() else _WITHOUT_SPACES.sub(r" \g<0> ", text)


def facet_words(failed: bool | None, status: int | str | None, terms: Iterable[int | None]) -> str:
    """The words for what a row can be filtered by.

    Args:
        failed: Whether it failed; None for no word about that.
        status: Its HTTP status; None for a row without a response, "" for no word about that.
        terms: The numbers of its terms.
    """
    words = [] if failed is None else [f"failed{int(failed)}"]
    words += [] if status == "" else [f"status{status}"]
    return " ".join([*words, *(f"term{term}" for term in terms if term is not None)])


def note_numbers_before(connection: sqlite3.Connection, number: int) -> None:
    """Note, in an index without rows, the number before that of its first row."""
    connection.execute(f"PRAGMA user_version = {number}")


def numbers_before(connection: sqlite3.Connection, index: str) -> int:
    """The number before that of the first row of an index, superseded rows included."""
    number: int
    (number,) = connection.execute(f"PRAGMA {index}.user_version").fetchone()
    return number


def open_for_building(path: Path) -> sqlite3.Connection:
    """Open an index to write it; a new one gets its tables. It may be used in one thread after another.

    Raises:
        sqlite3.Error: It is damaged, or the disk is full.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait
        connection.execute("PRAGMA synchronous = OFF")  # it can be made again
        connection.execute("PRAGMA cache_size = -32768")
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            connection.executescript(f"BEGIN; {_TABLES} COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def open_for_reading(path: Path, other: Path | None = None) -> Iterator[sqlite3.Connection]:
    """Open an index to query it.

    Args:
        path: The index.
        other: Another index, in ``other``. Both are read as they are at the first query.
    """
    connection = sqlite3.connect(_existing(path), isolation_level=None, uri=True)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA mmap_size = 1073741824")
        if other is not None:
            connection.execute("ATTACH ? AS other", [_existing(other)])
            connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def _existing(path: Path) -> str:
    """The URI of a file that is not created."""
    return f"{path.absolute().as_uri()}?mode=rw"
