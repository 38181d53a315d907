"""An executor that embeds the texts of many items in one request."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Set
from typing import Any

from headrace._support.interrupts import uninterrupted
from headrace.bulk.cancelled_rows import cancelled
from headrace.bulk.client_executor import ClientExecutor
from headrace.bulk.embedding.batch import Batch, BatchBuilder
from headrace.bulk.embedding.rejections import concerns_some_texts, refuses_base64
from headrace.bulk.embedding.row_outcomes import row_results
from headrace.bulk.executor import ResultHandler, WorkItem
from headrace.bulk.item_result import ItemResult, item_result
from headrace.calls import Outcome
from headrace.client import Client
from headrace.errors import HeadraceError


class EmbeddingExecutor(ClientExecutor):
    """Embeds the texts of items with one client, in this process; an `Executor`.

    A batch that the endpoint rejects because of its content is sent again in two halves, and so on, until
    only the texts fail that are the cause: less than two requests for each text. If the endpoint accepts
    both halves, the batch was too large, and later ones have the size of a half.

    A call is cancelled only if all its rows are: to make it again for the others would be paid twice. So a
    cancelled row fails when the call of its batch has ended, with its share of the cost.

    Args:
        client: An open client.
        batch_size: The most texts in a request.
        max_in_flight: Maximum number of calls at once; None for the client's limit.
    """

    def __init__(self, client: Client, batch_size: int, max_in_flight: int | None = None) -> None:
        super().__init__(client, max_in_flight)
        self._builder = BatchBuilder(batch_size, self._fail)
        self._members: dict[str, Any] = {}
        self._parts: deque[Batch] = deque()
        self._failed: list[ItemResult] = []
        self._handle: ResultHandler = lambda results: None
        self._cancelled: set[int] = set()

    async def work(self, items: Iterator[WorkItem] | AsyncIterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        self._handle = handle
        self._builder.take()
        self._parts.clear()
        self._cancelled.clear()
        batches = self._async_batches(items) if isinstance(items, AsyncIterable) else self._batches(items)
        await self._send(batches)
        while self._parts:
            await self._send(self._parts_in_order())

    async def cancel(self, indexes: Set[int]) -> None:
        """Cancel items: those that were not sent fail now, the others when the call of their batch ends."""
        for item in self._builder.remove(indexes):
            self._fail(item, cancelled())
        self._cancelled |= indexes
        for part in list(self._parts):
            if not self._drop_cancelled(part):
                self._parts.remove(part)
        self._report_failed()
        await self._maps.cancel(lambda batch: all(item.index in self._cancelled for item in batch.items))

    def _drop_cancelled(self, batch: Batch) -> bool:
        """Let the cancelled items of a batch that is not in flight fail; returns whether others are left."""
        left = [item for item in batch.items if item.index not in self._cancelled]
        if not left:  # they have the cost of rejected batches
            outcome = Outcome(0, None, None, cancelled())
            self._failed += row_results(batch, outcome, self._cancelled)
            return False
        for item in batch.items:
            if item.index in self._cancelled:
                self._fail(item, cancelled())
        batch.items = left
        return True

    async def _send(self, batches: Iterator[Batch] | AsyncIterator[Batch]) -> None:
        await self._maps.map(batches).each(self._finish)

    def _batches(self, items: Iterator[WorkItem]) -> Iterator[Batch]:
        for item in items:
            yield from self._parts_in_order()
            if complete := self._builder.add(item):
                yield Batch(complete, self._members)
            self._report_failed()
        yield from self._rest()

    async def _async_batches(self, items: AsyncIterable[WorkItem]) -> AsyncIterator[Batch]:
        async for item in items:
            for part in self._parts_in_order():
                yield part
            if complete := self._builder.add(item):
                yield Batch(complete, self._members)
            self._report_failed()
        for batch in self._rest():
            yield batch

    def _parts_in_order(self) -> Iterator[Batch]:
        while self._parts:
            yield self._parts.popleft()

    def _rest(self) -> Iterator[Batch]:
        if rest := self._builder.take():
            yield Batch(rest, self._members)
        yield from self._parts_in_order()

    def _fail(self, item: WorkItem, error: HeadraceError) -> None:
        """Note the result of an item that has no request."""
        result = item_result(
            item.index, item.id, Outcome(item.index, None, None, error), (), digest=item.digest
        )
        result.number = item.number
        self._failed.append(result)

    def _report_failed(self) -> None:
        if self._failed:
            results, self._failed = self._failed, []
            self._handle(results)

    @uninterrupted
    def _finish(self, outcome: Outcome) -> None:
        """Report the results of a batch, or have it sent again in parts."""
        batch: Batch = outcome.item
        error = outcome.error
        if error is None:
            self._learn_size(batch)
        elif refuses_base64(error, outcome.request):
            self._members["encoding_format"] = "float"  # for all batches
            batch.cost, batch.possible_cost = batch.add_cost(error)
            self._parts.extend(filter(self._drop_cancelled, [batch]))
            self._report_failed()
            return
        elif len(batch.items) > 1 and concerns_some_texts(error):
            self._parts.extendleft(filter(self._drop_cancelled, reversed(batch.halves(error))))
            self._report_failed()
            return
        self._handle(row_results(batch, outcome, self._cancelled))

    def _learn_size(self, batch: Batch) -> None:
        """Make smaller batches if both halves of a rejected one were accepted."""
        parent = batch.parent
        if parent is not None:
            parent.accepted_halves += 1
            if parent.accepted_halves == 2:
                half = (len(parent.items) + 1) // 2
                self._builder.most_texts = min(self._builder.most_texts, half)
