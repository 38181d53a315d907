"""Who makes the calls of a bulk run: a crew. Here, that of one client in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeAlias

import attrs

from headrace.bulk.result import Result, result_of
from headrace.client import Client
from headrace.model import Request


@attrs.frozen(eq=False)
class Asked:
    """An item to be done: its place in the input, its id, and the request."""

    index: int
    id: str
    request: Request


Batch: TypeAlias = Callable[[], Awaitable[list[Result]]]
"""Waits for results and gives those that are there; empty once all items have theirs."""


class Crew(Protocol):
    """Makes the calls of items."""

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""

    def at_work(self, items: Iterator[Asked]) -> AbstractAsyncContextManager[Batch]:
        """Draw items as there is room for them, for the length of the block."""


class LocalCrew:
    """One client in this process, its map; an answer outside ``choices``, if there are some, is an error."""

    def __init__(self, client: Client, choices: Sequence[str] = (), max_in_flight: int | None = None) -> None:
        self._client = client
        self._choices = choices
        self._max_in_flight = max_in_flight

    @property
    def in_flight(self) -> int:
        return self._client.in_flight

    @asynccontextmanager
    async def at_work(self, items: Iterator[Asked]) -> AsyncIterator[Batch]:
        # A map numbers what it draws; the output needs the item's place in the input.
        drawn: dict[int, tuple[int, str]] = {}

        def requests() -> Iterator[Request]:
            for number, item in enumerate(items):
                drawn[number] = item.index, item.id
                yield item.request

        # No buffer: what a crash may cause to be sent again is what was in flight, and no more.
        async with self._client.map(requests(), max_in_flight=self._max_in_flight, buffer=0) as outcomes:

            async def batch() -> list[Result]:
                return [
                    result_of(*drawn.pop(outcome.index), outcome, self._choices)
                    for outcome in await outcomes.batch()
                ]

            yield batch
