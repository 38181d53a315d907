"""Who makes the calls of a bulk run: a crew. Here, that of one client in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Protocol, TypeAlias

import anyio
import attrs

from headrace.bulk.result import Result, result_of
from headrace.client import Client
from headrace.groups import task_group
from headrace.model import Outcome, Request


@attrs.define(eq=False)
class Asked:
    """An item to be done: its place in the input, its id, the request, and the number of its call."""

    index: int
    id: str
    request: Request
    number: int = 0


Take: TypeAlias = Callable[[list[Result]], None]
"""Takes results as they come."""

_TOGETHER = 16
"""Results that are gathered before they are taken: writing them one by one would take 5 us an item more."""


class Crew(Protocol):
    """Makes the calls of items."""

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""

    async def work(self, items: Iterator[Asked], take: Take) -> None:
        """Draw items as there is room for them, until all have their results; what ``take`` raises ends it.

        No result waits to be taken for longer than it takes the tasks that are ready to have their turn.
        """


def carry_over(client: Client, spent: Decimal) -> None:
    """Tell a client's policies what earlier sessions of the run spent, in USD: those that have ``resume``."""
    for policy in client.policies:
        resume = getattr(policy, "resume", None)
        if resume is not None:
            resume(spent)


class LocalCrew:
    """One client in this process, its map; an answer outside ``choices``, if there are some, is an error."""

    def __init__(self, client: Client, choices: Sequence[str] = (), max_in_flight: int | None = None) -> None:
        self._client = client
        self._choices = choices
        self._max_in_flight = max_in_flight

    @property
    def in_flight(self) -> int:
        return self._client.in_flight

    async def work(self, items: Iterator[Asked], take: Take) -> None:
        finished: list[Result] = []
        news = anyio.Event()
        taken = True

        def finish(outcome: Outcome) -> None:
            item: Asked = outcome.item
            result = result_of(item.index, item.id, outcome, self._choices)
            result.number = item.number
            finished.append(result)
            if len(finished) == _TOGETHER or result.may_stop_drawing:
                hand_over()
            elif len(finished) == 1:
                news.set()

        def hand_over() -> None:
            nonlocal taken
            results = finished.copy()
            finished.clear()
            taken = False
            take(results)
            taken = True

        async def hand_over_the_rest() -> None:
            nonlocal news
            while True:
                await news.wait()
                news = anyio.Event()
                if finished:
                    hand_over()

        async with task_group() as group:
            group.start_soon(hand_over_the_rest)
            try:
                await self._client.map(items, max_in_flight=self._max_in_flight).each(finish)
            finally:
                group.cancel_scope.cancel()
                if finished and taken:  # else the one error would become two
                    hand_over()
