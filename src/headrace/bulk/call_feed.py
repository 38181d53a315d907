"""Draws the items of a run whose rows need several calls, and the further calls of rows."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Set
from typing import Any

import anyio
import anyio.lowlevel

from headrace.bulk.executor import WorkItem
from headrace.bulk.item_feed import ItemFeed
from headrace.bulk.item_result import ItemResult
from headrace.bulk.sources import Item

_MOST_WITHOUT_CALL = 2_000
"""Rows without a call after which a pass ends or waits, so that other tasks get a turn."""


class CallFeed(ItemFeed):
    """The feed of a run whose rows may need several calls, or none.

    Further calls are drawn before new rows: so few rows are begun and not finished, whenever the run stops.
    An executor that iterates asynchronously waits for further calls while calls are in flight. With another
    one, those that come after the end of the input are drawn in the next pass. An async input is read by
    `read_ahead`, so that waiting for its next row holds no further call back.

    Args:
        *arguments: Those of `ItemFeed`.
        finish: Called with the result of a row that needs no call.

    Attributes:
        is_waiting: Whether the iterator waits for results: all rows were drawn, and each has its call.
        when_waiting: Called when that becomes true. An executor whose calls take hours sets it; then many
            rows without a call end no pass, because the next one would begin only after these calls.
    """

    def __init__(self, *arguments: Any, finish: Callable[[list[ItemResult]], None]) -> None:
        super().__init__(*arguments)
        self._finish_row = finish
        self._further: deque[WorkItem] = deque()
        self._new: Any = iter(())
        self._out = 0
        self._without_call = 0
        self._changed, self._wanted = anyio.Event(), anyio.Event()
        self._read: WorkItem | None = None
        self._is_reading = self._is_exhausted = False
        self.cut_short: bool = False
        self.is_waiting: bool = False
        self.when_waiting: Callable[[], None] | None = None
        self._is_continued = False

    def items(self) -> Any:
        """See `ItemFeed.items`."""
        self._further.clear()  # they are among the unfinished ones
        self._without_call = 0
        self._is_exhausted = self._is_continued = False
        self._new = super().items()
        return self

    def add_call(self, work_item: WorkItem) -> None:
        """Add the next call of a row that was drawn."""
        super().add_call(work_item)
        self._further.append(work_item)

    def add_again(self, ids: Set[str]) -> None:
        """Draw items again; see `ItemFeed.add_again`. An iterator that waits for results continues."""
        super().add_again(ids)
        if self._is_exhausted or not self._is_async:
            self._is_continued, self._is_exhausted = True, False
            self._new = self._async_items() if self._is_async else self._items()
        self._wake()

    def items_again(self) -> Any:
        """Nothing: they come with the other calls, for which an executor waits."""
        return iter(())

    def take_back(self, number: int) -> None:
        """Note that the results of this many calls have come."""
        self._out -= number
        self._wake()

    def _wake(self) -> None:
        self.is_waiting = False
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def read_ahead(self) -> None:
        """Read an async input for `__anext__`, one row whenever that wants one; until cancelled."""
        while self._is_async:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            self._read = await anext(self._new, None)
            self._is_reading, self._is_exhausted = False, self._read is None
            self._wake()

    def _take_read(self) -> WorkItem | None:
        """The row that was read, if there is one; otherwise a row is wanted."""
        call, self._read = self._read, None
        if call is None and not (self._is_reading or self._is_exhausted or self.cut_short):
            self._is_reading = True
            self._wanted.set()
        return call

    def finish(self, index: int) -> None:
        """Forget an item whose result was written; it was not drawn if it needed no call."""
        self.drawn.pop(index, None)

    def __iter__(self) -> Iterator[WorkItem]:
        return self

    def __next__(self) -> WorkItem:
        """The next call. It may return one after it has raised `StopIteration`, when results have come."""
        call = self._next_further()
        if call is None:
            call = next(self._new)
        self._out += 1
        return call

    def __aiter__(self) -> AsyncIterator[WorkItem]:
        return self

    async def __anext__(self) -> WorkItem:
        while True:
            await self._gate.hold()
            call = self._next_further()
            if call is None:
                call = self._take_read() if self._is_async else await self._next_new()
            if call is not None:
                self._out += 1
                return call
            self._must_stop()  # the rows may have ended before the run had to stop
            if not self._is_reading and (self.cut_short or not self._out):
                raise StopAsyncIteration
            changed = self._changed
            if self.when_waiting is not None and not self._is_reading:
                self.is_waiting = True
                self.when_waiting()
            await changed.wait()

    async def _next_new(self) -> WorkItem | None:
        """The next new row. After many rows without a call, other tasks get a turn first."""
        while True:
            call = next(self._new, None)
            if call is not None or self.cut_short or self._without_call < _MOST_WITHOUT_CALL:
                return call
            self._without_call = 0
            await anyio.lowlevel.checkpoint()
            self._is_continued = True
            self._new = self._items()

    def _unfinished(self) -> Iterator[WorkItem]:
        return iter(()) if self._is_continued else super()._unfinished()

    def _next_further(self) -> WorkItem | None:
        if not self._further or self.cut_short or self._must_stop():
            return None
        call = self._further.popleft()
        self._has_further = bool(self._further)
        return self._begin(call)

    def _must_stop(self) -> bool:
        many, waits = self._without_call >= _MOST_WITHOUT_CALL, self.when_waiting is not None
        self.cut_short = self.cut_short or super()._must_stop() or (many and not waits)
        return self.cut_short or (many and not self._is_async)  # an async input waits by itself

    def _draw(self, item: Item) -> WorkItem | None:
        found = self._calls.first(item)
        if isinstance(found, WorkItem):
            self._without_call = 0
            return self._begin(found)
        self._without_call += 1
        self._finish_row([found])
        return None
