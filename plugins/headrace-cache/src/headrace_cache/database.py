"""The file: a table of replies in SQLite. Nothing here is asynchronous.

Two connections, because one would not do: whoever reads over the connection that writes waits for the
writing, and in WAL mode nobody else does. So reads are made where the event loop runs, and writes in a
thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import attrs

from headrace import SettingsError
from headrace_cache.kept import Kept

APPLICATION = 0x68726361
"""SQLite's application_id: "hrca"."""

VERSION = 1

PATIENCE = 5.0
"""Seconds in which another process is to be done with the file."""

GLANCE = 0.5
"""The same for reads, which hold up the event loop. They wait only where another mends what a crash left."""

_SCHEMA = (
    """
    CREATE TABLE replies (
        key BLOB NOT NULL UNIQUE,
        status INTEGER NOT NULL,
        content_type TEXT,
        content BLOB NOT NULL,
        made REAL NOT NULL,
        used REAL NOT NULL
    )
    """,
    "CREATE INDEX replies_by_use ON replies (used)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

_LARGEST = 16
"""A reply of more than this part of ``max_bytes`` is not kept: it would drive out all others."""


@attrs.frozen
class Row:
    """A reply to be kept, and when it was made (seconds since 1970)."""

    key: bytes
    kept: Kept
    made: float


class Database:
    """The replies in a file of at most ``max_bytes``, which several processes may have open.

    Raises `SettingsError` for a file that cannot be opened, is damaged, or is another program's.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        try:
            with ExitStack() as opened:
                _create(path)
                self._writer = opened.enter_context(closing(_connect(path)))
                _prepare(self._writer, path)
                self._reader = opened.enter_context(closing(_connect(path)))
                _look_into(self._reader)
                self._page = self._number("page_size")
                opened.pop_all()
        except OSError as error:
            raise SettingsError(f"cache: path={str(path)!r}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise SettingsError(
                f"cache: path={str(path)!r} cannot be used ({error}); name another file, or remove this one"
            ) from error

    def find(self, key: bytes, since: float) -> Kept | None:
        """What is kept under ``key``, unless it was made before ``since``."""
        row = self._reader.execute(
            "SELECT status, content_type, content FROM replies WHERE key = ? AND made >= ?", (key, since)
        ).fetchone()
        return None if row is None else Kept(*row)

    def write(self, rows: Iterable[Row], used: Mapping[bytes, float]) -> None:
        """Keep ``rows``, note what was used when, and make room: all of it or nothing."""
        most = self._max_bytes // _LARGEST
        with _transaction(self._writer, "IMMEDIATE"):
            self._writer.executemany(
                "UPDATE replies SET used = ? WHERE key = ?", [(when, key) for key, when in used.items()]
            )
            self._writer.executemany(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (row.key, row.kept.status, row.kept.content_type, row.kept.content, row.made, row.made)
                    for row in rows
                    if len(row.kept.content) <= most
                ],
            )
            self._make_room()

    def close(self) -> None:
        """Close the file; the last one to do so folds the log into it."""
        self._reader.close()
        self._writer.close()

    def _make_room(self) -> None:
        if self._size() <= self._max_bytes:
            return
        number = 1
        while self._size() > self._max_bytes - self._max_bytes // _LARGEST:
            deleted = self._writer.execute(
                "DELETE FROM replies WHERE rowid IN (SELECT rowid FROM replies ORDER BY used LIMIT ?)",
                (number,),
            )
            if not deleted.rowcount:
                return
            number *= 2

    def _size(self) -> int:
        """Bytes of the file that hold something; what was let go of is written over."""
        return (self._number("page_count") - self._number("freelist_count")) * self._page

    def _number(self, pragma: str) -> int:
        number: int = self._writer.execute(f"PRAGMA {pragma}").fetchone()[0]
        return number


def _create(path: Path) -> None:
    """Make an empty file that nobody else may read; SQLite gives its log the same mode."""
    # Only one that is not there: to open and close another's would drop the locks this process has on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)


def _look_into(reader: sqlite3.Connection) -> None:
    reader.execute("PRAGMA query_only = 1")
    # Both trees: of a file that was cut off, one of them is likely to be gone.
    for order in ("key", "used"):
        reader.execute(f"SELECT content FROM replies ORDER BY {order} DESC LIMIT 1").fetchone()
    reader.execute(f"PRAGMA busy_timeout = {GLANCE * 1000:.0f}")


def _prepare(writer: sqlite3.Connection, path: Path) -> None:
    """Have the tables there; processes that begin at once wait for each other."""
    with _transaction(writer, "DEFERRED"):  # before anything is changed in what may be another program's
        _is_new(writer, path)
    begun = time.monotonic()
    while True:
        try:
            # What changes the mode does not wait for its turn, as all else does.
            writer.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > begun + PATIENCE:
                raise
            time.sleep(0.01)
    # After a loss of power the last replies may be gone; the file is sound.
    writer.execute("PRAGMA synchronous = NORMAL")
    with _transaction(writer, "IMMEDIATE"):
        if _is_new(writer, path):
            for statement in _SCHEMA:
                writer.execute(statement)


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty; raises `SettingsError` where it is not of this version, nor ours at all.

    To be asked in a transaction, for the three answers have to be about one moment.
    """
    application, version, tables = (
        connection.execute(question).fetchone()[0]
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if not application and not version and not tables:
        return True
    if application != APPLICATION:
        raise SettingsError(
            f"cache: path={str(path)!r} is another program's database; name a file of its own"
        )
    if version != VERSION:
        raise SettingsError(
            f"cache: path={str(path)!r} is of another headrace-cache (its version is {version}, "
            f"here it is {VERSION}); name another file, or remove this one"
        )
    return False


@contextmanager
def _transaction(writer: sqlite3.Connection, kind: str) -> Iterator[None]:
    writer.execute(f"BEGIN {kind}")
    try:
        yield
        writer.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # it may have been rolled back already, as on a full disk
            writer.execute("ROLLBACK")
        raise
