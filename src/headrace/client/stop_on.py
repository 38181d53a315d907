"""A map that stops at an error which all its later calls share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import Any

import anyio

from headrace.calls import Outcome
from headrace.client.item_source import EXHAUSTED, ItemSource
from headrace.client.shared_errors import SharedErrorDetector
from headrace.errors import HeadraceError
from headrace.wire.error_scope import shared_error


class StopOnSharedErrors:
    """The items and the work of a map, under the rule of `SharedErrorDetector`.

    As an async iterable it gives the items. Where the rule says that nothing more is to be drawn, it waits
    for the calls under way, and raises the error unless one of them takes the verdict back.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        work: Callable[[Any, int, Any], Awaitable[Outcome[Any]]],
    ) -> None:
        self._items = items
        self._work = work
        self._rule: SharedErrorDetector[HeadraceError] = SharedErrorDetector()
        self._under_way = 0
        self._finished = anyio.Event()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        drawing, rule = ItemSource(self._items), self._rule
        try:
            while True:
                while rule.verdict is not None:
                    if not self._under_way:
                        raise rule.verdict.first
                    self._finished = anyio.Event()
                    await self._finished.wait()
                drawn = drawing.draw()
                item = await drawn if drawing.awaited else drawn
                if item is EXHAUSTED:
                    break
                yield item
        finally:
            await drawing.aclose()
        if drawing.error is not None:
            raise drawing.error

    async def work(self, stream: Any, index: int, item: Any) -> Outcome[Any]:
        """The outcome of an item, of which the rule is told."""
        rule = self._rule
        number = rule.begin()
        self._under_way += 1
        try:
            outcome = await self._work(stream, index, item)
        finally:
            self._under_way -= 1
        if outcome.error is None:
            if rule.held:
                rule.succeed(number)
        elif (shared := shared_error(outcome.error)) is not None:
            rule.fail(index, shared, outcome.error)
        self._finished.set()
        return outcome
