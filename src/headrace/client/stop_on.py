"""Stops a map at an error that all later calls share."""

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
    """Wraps the input and the work of a map, and reports each call to a `SharedErrorDetector`.

    It is an async iterable of the items. When the detector has a verdict, the iteration waits for the running
    calls, and raises the error unless one of them revokes the verdict.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        work: Callable[[Any, int, Any], Awaitable[Outcome[Any]]],
    ) -> None:
        self._items = items
        self._work = work
        self._detector: SharedErrorDetector[HeadraceError] = SharedErrorDetector()
        self._running = 0
        self._call_finished = anyio.Event()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        source, detector = ItemSource(self._items), self._detector
        try:
            while True:
                while detector.verdict is not None:
                    if not self._running:
                        raise detector.verdict.first
                    self._call_finished = anyio.Event()
                    await self._call_finished.wait()
                result = source.next_item()
                item = await result if source.is_async else result
                if item is EXHAUSTED:
                    break
                yield item
        finally:
            await source.aclose()
        if source.error is not None:
            raise source.error

    async def work(self, stream: Any, index: int, item: Any) -> Outcome[Any]:
        """Do the work for an item and report its outcome to the detector."""
        detector = self._detector
        number = detector.begin()
        self._running += 1
        try:
            outcome = await self._work(stream, index, item)
        finally:
            self._running -= 1
        if outcome.error is None:
            if detector.held:
                detector.succeed(number)
        elif (shared := shared_error(outcome.error)) is not None:
            detector.fail(index, shared, outcome.error)
        self._call_finished.set()
        return outcome
