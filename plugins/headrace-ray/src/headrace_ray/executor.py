"""An executor for several blocks at once: one map of one client, which goes on from block to block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import anyio
import attrs

from headrace import Client, Outcome, Request
from headrace.bulk import ItemResult, ResultHandler, WorkItem, item_result

_TOGETHER = 16
"""Results that are taken together at most, as in a local run."""


@attrs.define(eq=False)
class _Share:
    """What one call of `work` wants done."""

    items: Iterator[WorkItem]
    take: ResultHandler
    exhausted: bool = False
    under_way: int = 0
    results: list[ItemResult] = attrs.field(factory=list)
    error: Exception | None = None
    news: anyio.Event = attrs.field(factory=anyio.Event)

    def hand_over(self) -> None:
        """Have what there is taken; what that raises is for `work` to raise."""
        results, self.results = self.results, []
        try:
            if results and self.error is None:
                self.take(results)
        except Exception as error:
            self.error = error

    @property
    def over(self) -> bool:
        return self.error is not None or (self.exhausted and not self.under_way)


@attrs.frozen(eq=False)
class _Drawn:
    """An item of the map, and whose it is."""

    share: _Share
    item: WorkItem

    @property
    def request(self) -> Request:
        return self.item.request


class BlockExecutor:
    """Makes the calls of several blocks with ``max_in_flight`` tokens, of which no block has its own.

    Items of the block that came first are drawn first, and where it has none left those of the next, so that
    the end of a block leaves no token unused. ``run`` is to be running meanwhile.
    """

    def __init__(self, client: Client, max_in_flight: int, choices: tuple[str, ...], answer: Any) -> None:
        client.limiter.total_tokens = max_in_flight
        self._client = client
        self._choices = choices
        self._answer = answer
        self._shares: list[_Share] = []
        self._came = anyio.Event()

    @property
    def in_flight(self) -> int:
        """How many attempts are on the wire."""
        return self._client.in_flight

    async def run(self) -> None:
        """Make the calls, until cancelled."""
        await self._client.map(self, answer=self._answer).each(self._finish)

    async def work(self, items: Iterator[WorkItem], take: ResultHandler) -> None:
        """See `headrace.bulk.Executor.work`; may be called while another is under way."""
        share = _Share(items, take)
        self._shares.append(share)
        self._came.set()
        try:
            while not share.over:
                await share.news.wait()
                share.news = anyio.Event()
                share.hand_over()
            share.hand_over()
            if share.error is not None:
                raise share.error
        finally:
            if share in self._shares:
                self._shares.remove(share)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Drawn:
        while True:
            for share in self._shares.copy():
                item = self._draw(share)
                if item is not None:
                    share.under_way += 1
                    return _Drawn(share, item)
            self._came = anyio.Event()
            await self._came.wait()

    def _draw(self, share: _Share) -> WorkItem | None:
        try:
            if share.error is None:
                return next(share.items)
        except StopIteration:
            pass
        except Exception as error:
            share.error = error
        share.exhausted = True
        self._shares.remove(share)
        share.news.set()
        return None

    def _finish(self, outcome: Outcome) -> None:
        share, item = outcome.item.share, outcome.item.item
        share.under_way -= 1
        result = item_result(item.index, item.id, outcome, self._choices)
        result.number = item.number
        share.results.append(result)
        if len(share.results) == _TOGETHER or result.may_pause_drawing:
            share.hand_over()
        share.news.set()
