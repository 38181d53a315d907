"""The file: a table of replies in SQLite. Nothing here is asynchronous.

There are two connections. A read over the connection that writes would wait for the write; in WAL mode, a
read over another connection does not. So reads run in the event loop, and writes run in a thread.
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
from headrace_cache.entry import CacheEntry

APPLICATION_ID = 0x68726361
"""SQLite's application_id: "hrca"."""

VERSION = 1

WRITE_TIMEOUT = 5.0
"""Seconds to wait for another process that writes to the file."""

READ_TIMEOUT = 0.5
"""Seconds for reads, which block the event loop; they wait only while another process recovers the file."""

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
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)

_MAX_ENTRY_DIVISOR = 16
"""A reply larger than ``max_bytes`` divided by this is not stored: it would evict too many others."""


@attrs.frozen
class CacheRow:
    """An entry to store, its key, and when it was created (seconds since 1970)."""

    key: bytes
    entry: CacheEntry
    created: float


class Database:
    """The entries in a file of at most ``max_bytes``, which several processes may have open.

    Raises:
        SettingsError: The file cannot be opened, is damaged, or belongs to another program.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        try:
            with ExitStack() as opened:
                _create_file(path)
                self._writer = opened.enter_context(closing(_connect(path)))
                _prepare_tables(self._writer, path)
                self._reader = opened.enter_context(closing(_connect(path)))
                _prepare_reader(self._reader)
                self._page_size = self._read_pragma("page_size")
                opened.pop_all()
        except OSError as error:
            raise SettingsError(f"cache: path={str(path)!r}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise SettingsError(
                f"cache: path={str(path)!r} cannot be used ({error}); choose another file, or remove this one"
            ) from error

    def get(self, key: bytes, since: float) -> CacheEntry | None:
        """The entry of ``key``, unless it was created before ``since``."""
        row = self._reader.execute(
            "SELECT status, content_type, content FROM replies WHERE key = ? AND made >= ?", (key, since)
        ).fetchone()
        return None if row is None else CacheEntry(*row)

    def write(self, rows: Iterable[CacheRow], used: Mapping[bytes, float]) -> None:
        """Store ``rows``, update when keys were used, and evict if needed, all in one transaction."""
        max_entry_bytes = self._max_bytes // _MAX_ENTRY_DIVISOR
        with _transaction(self._writer, "IMMEDIATE"):
            self._writer.executemany(
                "UPDATE replies SET used = ? WHERE key = ?", [(when, key) for key, when in used.items()]
            )
            self._writer.executemany(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        row.key,
                        row.entry.status,
                        row.entry.content_type,
                        row.entry.content,
                        row.created,
                        row.created,
                    )
                    for row in rows
                    if len(row.entry.content) <= max_entry_bytes
                ],
            )
            self._evict()

    def close(self) -> None:
        """Close the file; the last one to close it merges the log into it."""
        self._reader.close()
        self._writer.close()

    def _evict(self) -> None:
        """Delete the least recently used entries if the file is too large."""
        if self._size() <= self._max_bytes:
            return
        number = 1
        while self._size() > self._max_bytes - self._max_bytes // _MAX_ENTRY_DIVISOR:
            deleted = self._writer.execute(
                "DELETE FROM replies WHERE rowid IN (SELECT rowid FROM replies ORDER BY used LIMIT ?)",
                (number,),
            )
            if not deleted.rowcount:
                return
            number *= 2

    def _size(self) -> int:
        """Bytes of the file that are in use; free pages are reused."""
        return (self._read_pragma("page_count") - self._read_pragma("freelist_count")) * self._page_size

    def _read_pragma(self, pragma: str) -> int:
        number: int = self._writer.execute(f"PRAGMA {pragma}").fetchone()[0]
        return number


def _create_file(path: Path) -> None:
    """Create an empty file that only its owner can read; SQLite gives its log the same mode."""
    # Only if it does not exist: opening and closing it would release this process's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=WRITE_TIMEOUT, isolation_level=None, check_same_thread=False)


def _prepare_reader(reader: sqlite3.Connection) -> None:
    """Make the connection read-only, and read from the file to find damage."""
    reader.execute("PRAGMA query_only = 1")
    # Both trees: a truncated file probably lacks one of them.
    for order in ("key", "used"):
        reader.execute(f"SELECT content FROM replies ORDER BY {order} DESC LIMIT 1").fetchone()
    reader.execute(f"PRAGMA busy_timeout = {READ_TIMEOUT * 1000:.0f}")


def _prepare_tables(writer: sqlite3.Connection, path: Path) -> None:
    """Create the tables if needed; processes that start at the same time wait for each other."""
    with _transaction(writer, "DEFERRED"):  # check before writing: the file may belong to another program
        _is_empty(writer, path)
    started = time.monotonic()
    while True:
        try:
            # SQLite's timeout does not apply to a change of the journal mode.
            writer.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if (
                error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY
                or time.monotonic() > started + WRITE_TIMEOUT
            ):
                raise
            time.sleep(0.01)
    # After a power loss the last entries may be missing, but the file is intact.
    writer.execute("PRAGMA synchronous = NORMAL")
    with _transaction(writer, "IMMEDIATE"):
        if _is_empty(writer, path):
            for statement in _SCHEMA:
                writer.execute(statement)


def _is_empty(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty; raises `SettingsError` if it is of another version or another program.

    Call it in a transaction, so that the three values are consistent.
    """
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if not application and not version and not tables:
        return True
    if application != APPLICATION_ID:
        raise SettingsError(f"cache: path={str(path)!r} is another program's database; choose another file")
    if version != VERSION:
        raise SettingsError(
            f"cache: path={str(path)!r} was made by another version of headrace-cache (format {version}, "
            f"expected {VERSION}); choose another file, or remove this one"
        )
    return False


@contextmanager
def _transaction(writer: sqlite3.Connection, kind: str) -> Iterator[None]:
    writer.execute(f"BEGIN {kind}")
    try:
        yield
        writer.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled it back already, for example on a full disk
            writer.execute("ROLLBACK")
        raise
