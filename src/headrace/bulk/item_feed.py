"""Draws the items of a run, and keeps those that are not finished."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Set
from typing import Any

from headrace.bulk.cancelled_rows import CancellingCalls, cancelled
from headrace.bulk.done_prefix import DonePrefix
from headrace.bulk.drawing_gate import DrawingGate
from headrace.bulk.drawn_items import DrawnItems
from headrace.bulk.executor import WorkItem
from headrace.bulk.input_check import InputCheck
from headrace.bulk.items_again import ItemsAgain
from headrace.bulk.pending_results import PendingResults
from headrace.bulk.result_store import ResultStore
from headrace.bulk.row_calls import RowCalls
from headrace.bulk.sources import Item, TaskInput
from headrace.errors import InputError


class ItemFeed:
    """The items of a run that are not done. The input is read once, in several passes.

    A pass begins with the items that an earlier pass has drawn and not finished. It stops early if no more
    items may be drawn. An error of the input ends the run, after the items before it.

    Args:
        source: The input.
        calls: Makes the first call of each row.
        journal: Knows what is done.
        pending: Decides whether items may be drawn.
        gate: Decides whether items may be drawn, too: the run may be paused or stopping.
        check: Checks items that could not be read before; None for an input that was checked.
        drawn: The items that were drawn and are not finished.

    Attributes:
        cut_short: Whether the last pass stopped early.
    """

    def __init__(
        self,
        source: TaskInput,
        calls: RowCalls,
        journal: ResultStore,
        pending: PendingResults,
        gate: DrawingGate,
        check: InputCheck | None,
        drawn: DrawnItems,
    ) -> None:
        self._calls: RowCalls | CancellingCalls = calls
        self._journal = journal
        self._pending = pending
        self._gate = gate
        self._check = None if check is None or check.reads_ahead else check
        self._is_async = getattr(source, "is_async", False)
        self._source = source
        self._prefix = DonePrefix(source, journal)
        self._input: Any = source.async_items() if self._is_async else self._prefix.items_after()  # type: ignore[attr-defined]
        self.drawn = drawn
        self._last: Item | None = None
        self._next_index = self._prefix.size
        self._again: deque[ItemsAgain] = deque()
        self._notes_done = True
        self._has_further = False
        self.cut_short: bool = False

    def items(self) -> Any:
        """The items of a pass: an iterator, or an async iterator for an async input."""
        self.cut_short = self._has_further = False
        return self._async_items() if self._is_async else self._items()

    @property
    def has_more(self) -> bool:
        """Whether another pass is needed, once no call is in flight."""
        return self.cut_short or self._has_further or bool(self._again)

    def finish(self, index: int) -> None:
        """Forget an item whose result was written."""
        del self.drawn[index]

    def cancel(self, ids: Collection[str], *, in_flight: bool) -> list[WorkItem]:
        """Let the items with these ids fail when they are drawn, or drawn again.

        Args:
            ids: The ids.
            in_flight: Whether items that were drawn are cancelled, too.

        Returns:
            Those that were drawn and are not finished.
        """
        if not isinstance(self._calls, CancellingCalls):
            self._calls = CancellingCalls(self._calls)  # only now: it would slow each row down
        drawn = [item for item in self.drawn.values() if item.id in ids]
        if in_flight:
            for item in drawn:
                item.fail(cancelled())
        self._calls.add(set(ids).difference(item.id for item in drawn))
        return drawn

    def add_again(self, ids: Set[str]) -> None:
        """Draw items again that were drawn or skipped before, and have no line; before all others.

        Args:
            ids: Their ids. Those of items that were not read yet need not be drawn again.
        """
        self._again.append(ItemsAgain(self._source, ids, self._next_index))
        self._notes_done = False  # from now on items end in another order than that of the input
        if isinstance(self._calls, CancellingCalls):
            self._calls.ids -= ids

    def items_again(self) -> Any:
        """The items of `add_again`, for an executor that has drawn all others: an async iterator."""
        return self._async_items_again()

    def add_call(self, work_item: WorkItem) -> None:
        """Add the next call of a row that was drawn; it is drawn in the next pass."""
        self.drawn[work_item.index] = work_item
        self._has_further = True

    async def read_ahead(self) -> None:
        """Read the input while an executor waits; see `CallFeed`."""

    def take_back(self, number: int) -> None:
        """Note that the results of this many calls have come; see `CallFeed`."""

    def note_done(self) -> None:
        """Note up to where all items are done, so that a later session can begin there."""
        if not self._notes_done:
            return
        if (first := self.drawn.first) is not None:
            self._prefix.extend(first.index - self._journal.first_index, first.line)
        elif self._last is not None:
            self._prefix.extend(self._last.index, self._last.line)

    def _items_again(self) -> Iterator[WorkItem]:
        while self._again and not self._must_stop():
            try:
                item = next(self._again[0], None)
            except InputError as error:
                self._end_with(error)
                return
            if item is None:
                self._again.popleft()
            elif (work_item := self._draw(item)) is not None:
                yield work_item

    async def _async_items_again(self) -> AsyncIterator[WorkItem]:
        while self._again and not self._must_stop():
            again = self._again[0]
            try:
                item = await anext(again, None)
            except InputError as error:
                self._end_with(error)
                return
            await self._gate.hold()
            if item is not None and (work_item := self._draw(item)) is not None:
                yield work_item
            elif item is None and self._again and self._again[0] is again:
                self._again.popleft()

    def _items(self) -> Iterator[WorkItem]:
        yield from self._unfinished()
        yield from self._items_again()
        while not self._must_stop():
            try:
                item = next(self._input, None)
                if self._check is not None:
                    self._add(item, self._check)
            except InputError as error:
                self._end_with(error)
                return
            if item is None:
                return
            self._last, self._next_index = item, item.index + 1
            if not self._journal.is_done(item) and (work_item := self._draw(item)) is not None:
                yield work_item

    async def _async_items(self) -> AsyncIterator[WorkItem]:
        for unfinished in self._unfinished():
            await self._gate.hold()
            yield unfinished
        async for again in self._async_items_again():
            yield again
        while not self._must_stop():
            try:
                item = await anext(self._input, None)
                if self._check is not None:
                    self._add(item, self._check)
            except InputError as error:
                self._end_with(error)
                return
            if item is None:
                return
            self._next_index = item.index + 1
            await self._gate.hold()
            if not self._journal.is_done(item) and (work_item := self._draw(item)) is not None:
                yield work_item

    def _unfinished(self) -> Iterator[WorkItem]:
        for work_item in list(self.drawn.values()):
            if self._must_stop():
                return
            work_item.number = self._pending.begin()
            yield work_item

    def _add(self, item: Item | None, check: InputCheck) -> None:
        if item is None:
            check.finished = True
        else:
            check.add(item)

    def _end_with(self, error: InputError) -> None:
        self.cut_short, self._pending.ended_by = True, error

    def _must_stop(self) -> bool:
        self.cut_short = self._pending.stops_drawing or self._gate.closed
        return self.cut_short

    def _draw(self, item: Item) -> WorkItem | None:
        """The first call of an item; None if it needs none."""
        work_item = self._calls.first(item)
        assert isinstance(work_item, WorkItem)
        return self._begin(work_item)

    def _begin(self, work_item: WorkItem) -> WorkItem:
        work_item.number = self._pending.begin()
        self.drawn[work_item.index] = work_item
        return work_item
