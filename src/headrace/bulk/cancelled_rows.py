"""Rows that were cancelled before they were sent: they fail when they are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.bulk.executor import WorkItem
from headrace.bulk.item_result import ItemResult
from headrace.bulk.row_calls import RowCalls
from headrace.bulk.sources import Item
from headrace.errors import CallCancelled


def cancelled() -> CallCancelled:
    """The error of an item that was cancelled before it was sent."""
    return CallCancelled("cancelled before it was sent")


class CancellingCalls:
    """The `RowCalls` of a run of which rows were cancelled; a feed without such rows has no need of it.

    Args:
        calls: Those of the run.

    Attributes:
        ids: The ids of these rows.
    """

    def __init__(self, calls: RowCalls) -> None:
        self._calls = calls
        self.ids: set[str] = set()

    def add(self, ids: Iterable[str]) -> None:
        """Let the rows with these ids fail."""
        self.ids.update(ids)

    def first(self, item: Item) -> WorkItem | ItemResult:
        """See `RowCalls.first`."""
        found = self._calls.first(item)
        if item.id in self.ids and isinstance(found, WorkItem):
            found.fail(cancelled())
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)
