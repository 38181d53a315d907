"""Asynchronous access to the file: reads run at once, writes run in a thread, many in one transaction.

An error of the open file fails no call: it is logged once, and calls continue without the cache.
"""

from __future__ import annotations

import logging
import sqlite3

import anyio
import anyio.to_thread
import attrs

from headrace_cache.database import CacheRow, Database
from headrace_cache.entry import CacheEntry

_log = logging.getLogger("headrace.cache")

MAX_UNWRITTEN_HITS = 500
"""Hits that are remembered before they are written; a process that is killed loses them."""


@attrs.define(eq=False)
class _WriteBatch:
    """Rows and hits that one transaction writes."""

    rows: list[CacheRow] = attrs.field(factory=list)
    used: dict[bytes, float] = attrs.field(factory=dict)
    written: bool = False


@attrs.define(eq=False)
class _Writer:
    """The next batch, and whether the file is usable; the writing thread uses nothing else."""

    database: Database
    batch: _WriteBatch = attrs.field(factory=_WriteBatch)
    usable: bool = True

    def write(self, batch: _WriteBatch) -> None:
        try:
            if self.usable:
                self.database.write(batch.rows, batch.used)
        except sqlite3.Error as error:
            self.disable(error)

    def disable(self, error: sqlite3.Error) -> None:
        if self.usable:
            self.usable = False
            _log.warning("the cache is disabled: %s; calls continue without it", error)

    def close(self) -> None:
        self.write(self.batch)
        self.database.close()


class CacheStore:
    """The entries of a file while a client is open; the client closes it."""

    def __init__(self, database: Database) -> None:
        self._writer = _Writer(database)
        self._lock = anyio.Lock()
        # Its own limiter, so that it never waits for an application's threads.
        self._thread = anyio.CapacityLimiter(1)

    def close(self) -> None:
        """Write what is not written yet, and close the file."""
        self._writer.close()

    def get(self, key: bytes, since: float, now: float) -> CacheEntry | None:
        """The entry of ``key``, unless it was created before ``since``."""
        writer = self._writer
        if not writer.usable:
            return None
        try:
            entry = writer.database.get(key, since)
        except sqlite3.Error as error:
            writer.disable(error)
            return None
        if entry is not None:
            writer.batch.used[key] = now
        return entry

    @property
    def needs_flush(self) -> bool:
        """Whether `MAX_UNWRITTEN_HITS` is reached."""
        return len(self._writer.batch.used) >= MAX_UNWRITTEN_HITS

    async def put(self, row: CacheRow) -> None:
        """Write an entry, together with the entries of other calls that are not written yet."""
        if self._writer.usable:
            self._writer.batch.rows.append(row)
            await self.flush()

    async def flush(self) -> None:
        """Write everything that is not written yet.

        The first waiter writes for all waiters, and the others find it done. A cancelled waiter leaves its
        entry to the next one.
        """
        writer = self._writer
        batch = writer.batch
        async with self._lock:
            if batch.written:
                return
            writer.batch = _WriteBatch()
            batch.written = True
            # A thread cannot be cancelled. The shield prevents a cancellation just before it starts.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(writer.write, batch, limiter=self._thread)
