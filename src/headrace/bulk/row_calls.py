"""Which calls a row needs: the place where a run decides whether a row needs a further call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import attrs

from headrace.bulk.executor import WorkItem
from headrace.bulk.item_result import ItemResult
from headrace.bulk.result_store import ResultStore
from headrace.bulk.run_task import CallTask
from headrace.bulk.sources import Item
from headrace.calls import Request
from headrace.errors import InputError


class Handled(NamedTuple):
    """What follows from results.

    Attributes:
        rows: The results of the rows that are finished, with the lines to write.
        calls: The next calls of the other rows.
    """

    rows: list[ItemResult]
    calls: Sequence[WorkItem] = ()


class RowCalls(Protocol):
    """Decides which calls a row needs. A row has at most one call in flight.

    `handle` makes durable what must not be paid twice before it returns the next calls. ``sync`` makes it
    survive a crash of the machine.

    Rows that have failed can be begun again. What their calls brought in this session is found by `first`
    after `note_session`, which may run in a thread and may be called again, and `forget_failed`.
    """

    @property
    def is_single(self) -> bool:
        """Whether each row has exactly one call."""

    def first(self, item: Item, /) -> WorkItem | ItemResult:
        """The first call of a row, or its result if it needs no call."""

    def note_rejections(self, results: list[ItemResult], /) -> None:
        """Take results as they come, before any is held; one that another call replaces is not shared."""

    def handle(self, results: list[ItemResult], /) -> Handled:
        """Take the final results of calls, in the order in which they came."""

    def note_session(self) -> None: ...
    def forget_failed(self) -> None: ...
    async def sync(self) -> None: ...


class SingleCall:
    """One call for each row, whose result is the row's.

    Args:
        task: Makes the requests.
        journal: Knows what was done before.
    """

    is_single = True

    def __init__(self, task: CallTask, journal: ResultStore) -> None:
        self._task = task
        self._journal = journal

    def first(self, item: Item) -> WorkItem:
        """See `RowCalls.first`."""
        request: Request | InputError
        try:
            request = self._task.request(item)
            if self._journal.was_removed(item):  # a cache may hold the answer that failed
                request = attrs.evolve(request, fresh=True)
        except InputError as error:  # concerns this item only
            request = error
        index = item.index + self._journal.first_index
        return WorkItem(index, item.id, request, digest=self._task.digest(item), line=item.line)

    def note_rejections(self, results: list[ItemResult]) -> None:
        """Do nothing: no other call replaces one."""

    def handle(self, results: list[ItemResult]) -> Handled:
        """See `RowCalls.handle`."""
        return Handled(results)

    def note_session(self) -> None:
        """Do nothing: a row that has failed keeps nothing."""

    def forget_failed(self) -> None:
        """Do nothing: only rows are counted."""

    async def sync(self) -> None:
        """Do nothing: the journal has all results."""
