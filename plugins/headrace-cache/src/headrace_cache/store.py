"""The asynchronous shell around the file: reads at once, writes in a thread, many in one transaction.

What goes wrong with the file once it is open fails no call: it is logged, once, and the calls go on without.
"""

from __future__ import annotations

import logging
import sqlite3

import anyio
import anyio.to_thread
import attrs

from headrace_cache.database import Database, Row
from headrace_cache.kept import Kept

_log = logging.getLogger("headrace.cache")

MOST_USED = 500
"""Hits that are remembered before they are written down; a process that is killed forgets them."""


@attrs.define(eq=False)
class _Batch:
    rows: list[Row] = attrs.field(factory=list)
    used: dict[bytes, float] = attrs.field(factory=dict)
    written: bool = False


@attrs.define(eq=False)
class _Writing:
    """What is to be written, and whether the file can be used; a thread has this alone."""

    database: Database
    batch: _Batch = attrs.field(factory=_Batch)
    usable: bool = True

    def write(self, batch: _Batch) -> None:
        try:
            if self.usable:
                self.database.write(batch.rows, batch.used)
        except sqlite3.Error as error:
            self.give_up(error)

    def give_up(self, error: sqlite3.Error) -> None:
        if self.usable:
            self.usable = False
            _log.warning("the cache is not used any more: %s; calls go on without it", error)

    def close(self) -> None:
        self.write(self.batch)
        self.database.close()


class Store:
    """What is kept while a client is open, which closes it."""

    def __init__(self, database: Database) -> None:
        self._writing = _Writing(database)
        self._turn = anyio.Lock()
        self._thread = anyio.CapacityLimiter(1)  # one of its own: not to wait for an application's threads

    def close(self) -> None:
        """Write down what is left, and close the file."""
        self._writing.close()

    def find(self, key: bytes, since: float, now: float) -> Kept | None:
        """What is kept under ``key`` and was not made before ``since``."""
        writing = self._writing
        if not writing.usable:
            return None
        try:
            kept = writing.database.find(key, since)
        except sqlite3.Error as error:
            writing.give_up(error)
            return None
        if kept is not None:
            writing.batch.used[key] = now
        return kept

    @property
    def due(self) -> bool:
        """Whether so much is unwritten that somebody had better `write`."""
        return len(self._writing.batch.used) >= MOST_USED

    async def keep(self, row: Row) -> None:
        """Write a reply down, along with what others have to write by then."""
        if self._writing.usable:
            self._writing.batch.rows.append(row)
            await self.write()

    async def write(self) -> None:
        """Have written what there is to write now.

        Whose turn it is writes for all who came before it; these then find that done. A cancelled one leaves
        its reply to the next.
        """
        writing = self._writing
        batch = writing.batch
        async with self._turn:
            if batch.written:
                return
            writing.batch = _Batch()
            batch.written = True
            # A thread cannot be cancelled; shielded, it cannot be cancelled just before it begins either.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(writing.write, batch, limiter=self._thread)
