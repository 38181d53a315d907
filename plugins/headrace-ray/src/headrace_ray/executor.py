"""An executor for several blocks at once: one map of one client for all blocks."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Self

import anyio
import attrs

from headrace import Client, Outcome, Request
from headrace.bulk import ItemResult, ResultHandler, WorkItem, item_result

_RESULT_BATCH = 16
"""Most results that are delivered together, as in a local run."""


@attrs.define(eq=False)
class _WorkShare:
    """The items of one call of `work`."""

    items: Iterator[WorkItem]
    take: ResultHandler
    exhausted: bool = False
    in_flight: int = 0
    results: list[ItemResult] = attrs.field(factory=list)
    error: Exception | None = None
    changed: anyio.Event = attrs.field(factory=anyio.Event)

    def deliver(self) -> None:
        """Deliver the results so far; `work` raises the error if that fails."""
        results, self.results = self.results, []
        try:
            if results and self.error is None:
                self.take(results)
        except Exception as error:
            self.error = error

    @property
    def over(self) -> bool:
        """Whether all items are done, or an error ends the work."""
        return self.error is not None or (self.exhausted and not self.in_flight)


@attrs.frozen(eq=False)
class _DrawnItem:
    """An item of the map, and the share it belongs to."""

    share: _WorkShare
    item: WorkItem

    @property
    def request(self) -> Request:
        return self.item.request


class BlockExecutor:
    """Makes the calls of several blocks; all blocks share ``max_in_flight`` tokens.

    Items of the first block are drawn first, then those of the next one. So no token is unused at the end of
    a block. `work` needs `run` to be running.
    """

    def __init__(self, client: Client, max_in_flight: int, choices: tuple[str, ...], answer: Any) -> None:
        client.limiter.total_tokens = max_in_flight
        self._client = client
        self._map = client.map(self, answer=answer)
        self._choices = choices
        self._shares: list[_WorkShare] = []
        self._share_added = anyio.Event()

    @property
    def in_flight(self) -> int:
        """Attempts in flight."""
        return self._client.in_flight

    async def run(self) -> None:
        """Make the calls, until cancelled."""
        await self._map.each(self._finish)

    async def cancel(self, indexes: Set[int]) -> None:
        """Cancel the calls of these items that are in flight; they fail with a `CallCancelled`."""
        await self._map.cancel(lambda drawn: drawn.item.index in indexes)

    async def work(self, items: Iterator[WorkItem], take: ResultHandler) -> None:
        """See `headrace.bulk.Executor.work`; several calls may run at once."""
        share = _WorkShare(items, take)
        self._shares.append(share)
        self._share_added.set()
        try:
            while not share.over:
                await share.changed.wait()
                share.changed = anyio.Event()
                share.deliver()
            share.deliver()
            if share.error is not None:
                raise share.error
        finally:
            if share in self._shares:
                self._shares.remove(share)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _DrawnItem:
        while True:
            for share in self._shares.copy():
                item = self._draw(share)
                if item is not None:
                    share.in_flight += 1
                    return _DrawnItem(share, item)
            self._share_added = anyio.Event()
            await self._share_added.wait()

    def _draw(self, share: _WorkShare) -> WorkItem | None:
        """Return the next item of a share, None if there is none."""
        try:
            if share.error is None:
                return next(share.items)
        except StopIteration:
            pass
        except Exception as error:
            share.error = error
        share.exhausted = True
        self._shares.remove(share)
        share.changed.set()
        return None

    def _finish(self, outcome: Outcome) -> None:
        """Keep the result of an item."""
        share, item = outcome.item.share, outcome.item.item
        share.in_flight -= 1
        result = item_result(item.index, item.id, outcome, self._choices)
        result.number = item.number
        share.results.append(result)
        if len(share.results) == _RESULT_BATCH or result.may_pause_drawing:
            share.deliver()
        share.changed.set()
