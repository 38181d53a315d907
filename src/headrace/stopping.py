"""A map that stops at an error which all its later calls share."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, Self

import anyio

from headrace.error_scope import shared_error
from headrace.errors import HeadraceError
from headrace.model import Outcome
from headrace.shared_errors import SharedErrors


class Stopping:
    """The items and the work of a map, under the rule of `SharedErrors`.

    As an async iterator it gives the items. Where the rule says that nothing more is to be drawn, it waits
    for the calls under way, and raises the error unless one of them takes the verdict back.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        work: Callable[[Any, int, Any], Awaitable[Outcome[Any]]],
    ) -> None:
        self._items = items
        self._work = work
        self._rule: SharedErrors[HeadraceError] = SharedErrors()
        self._under_way = 0
        self._finished = anyio.Event()

    def __aiter__(self) -> Self:
        items = self._items
        self._next = _next_async(items) if isinstance(items, AsyncIterable) else _next(items)
        return self

    async def __anext__(self) -> Any:
        rule = self._rule
        while rule.verdict is not None:
            if not self._under_way:
                raise rule.verdict.first
            self._finished = anyio.Event()
            await self._finished.wait()
        return await self._next()

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


def _next(items: Iterable[Any]) -> Callable[[], Awaitable[Any]]:
    iterator = iter(items)

    async def draw() -> Any:
        try:
            return next(iterator)
        except StopIteration:
            raise StopAsyncIteration from None

    return draw


def _next_async(items: AsyncIterable[Any]) -> Callable[[], Awaitable[Any]]:
    return aiter(items).__anext__
