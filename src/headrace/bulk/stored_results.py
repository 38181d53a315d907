"""The results of a run on their way to the journal."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from headrace.bulk.item_feed import ItemFeed
from headrace.bulk.item_result import ItemResult
from headrace.bulk.journal import Journal
from headrace.bulk.result_store import ResultStore
from headrace.bulk.row_calls import RowCalls
from headrace.bulk.summary import Summary

_SYNC_INTERVAL = 1.0
"""Seconds between two syncs of the journal to the disk."""


class StoredResults:
    """Writes what the calls of a run have brought.

    Args:
        calls: Decides which calls a row needs.
        journal: Where results are stored.
        summary: The totals to update.

    Attributes:
        feed: The items of the run; set before there are results.
        on_stored: Called after results were written.
    """

    feed: ItemFeed

    def __init__(self, calls: RowCalls, journal: ResultStore, summary: Summary) -> None:
        self._calls = calls
        self._journal = journal
        self._summary = summary
        self.on_stored: Callable[[], None] = lambda: None

    def store(self, results: list[ItemResult]) -> None:
        """Write what the calls have brought; the rows that need further calls get them."""
        rows, calls = self._calls.handle(results)
        for result in results:
            self._summary.add_call(result)
        for call in calls:
            self.feed.add_call(call)
        self.finish(rows)

    def finish(self, rows: list[ItemResult]) -> None:
        """Write the lines first, then count: an item is done when its line is written."""
        lines = b"".join([row.line for row in rows])
        self._journal.append([row.index for row in rows], lines)
        if isinstance(self._journal, Journal):
            self._journal.index_results(lines, rows)
        for row in rows:
            self.feed.finish(row.index)
            self._summary.add_item(row)
        self.on_stored()

    async def sync_regularly(self) -> None:
        """Sync the journal to the disk now and then."""
        while True:
            await anyio.sleep(_SYNC_INTERVAL)
            await self.sync()

    async def sync(self) -> None:
        """Sync the journal to the disk."""
        self.feed.note_done()
        await self._calls.sync()
        await self._journal.sync()
