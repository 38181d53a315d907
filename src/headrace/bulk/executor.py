"""Who makes the calls of a bulk run: an executor. Here, that of one client in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Protocol, TypeAlias

import anyio
import attrs

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.hanging import Unfinished, unfinished
from headrace.bulk.result import Result, result_of
from headrace.calls import Outcome, Request
from headrace.client import Client


@attrs.define(eq=False)
class WorkItem:
    """An item to be done: its place in the input, its id, the request, and the number of its call."""

    index: int
    id: str
    request: Request
    number: int = 0


Take: TypeAlias = Callable[[list[Result]], None]
"""Takes results as they come."""

_TOGETHER = 16
"""Results that are gathered before they are taken: writing them one by one would take 5 us an item more."""


class Executor(Protocol):
    """Makes the calls of items.

    It may have ``async unfinished() -> Unfinished``: what the calls under way wait for, which a stop asks.
    """

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""

    async def work(self, items: Iterator[WorkItem], take: Take) -> None:
        """Draw items as there is room for them, until all have their results; what ``take`` raises ends it.

        No result waits to be taken for longer than it takes the tasks that are ready to have their turn.
        """


def carry_over(client: Client, spent: Decimal) -> None:
    """Tell a client's policies what earlier sessions of the run spent, in USD: those that have ``resume``."""
    for policy in client.policies:
        resume = getattr(policy, "resume", None)
        if resume is not None:
            resume(spent)


class LocalExecutor:
    """One client in this process, its map; an answer outside ``choices``, if there are some, is an error."""

    def __init__(self, client: Client, choices: Sequence[str] = (), max_in_flight: int | None = None) -> None:
        self._client = client
        self._choices = choices
        self._max_in_flight = max_in_flight

    @property
    def in_flight(self) -> int:
        return self._client.in_flight

    async def unfinished(self) -> Unfinished:
        return unfinished(self._client)

    async def work(self, items: Iterator[WorkItem], take: Take) -> None:
        gathered = _Gathered(take, self._choices)
        async with task_group() as group:
            group.start_soon(gathered.hand_over_regularly)
            try:
                await self._client.map(items, max_in_flight=self._max_in_flight).each(gathered.add)
            finally:
                group.cancel_scope.cancel()
                gathered.hand_over_the_rest()


class _Gathered:
    """Results on their way from the tasks that have made the calls to who takes them."""

    def __init__(self, take: Take, choices: Sequence[str]) -> None:
        self._take = take
        self._choices = choices
        self._results: list[Result] = []
        self._news = anyio.Event()
        self._refused = False

    @uninterrupted
    def add(self, outcome: Outcome) -> None:
        """Gather what became of an item."""
        item: WorkItem = outcome.item
        result = result_of(item.index, item.id, outcome, self._choices)
        result.number = item.number
        self._results.append(result)
        if len(self._results) == _TOGETHER or result.may_stop_drawing:
            self._hand_over()
        elif len(self._results) == 1:
            self._news.set()

    @uninterrupted
    async def hand_over_regularly(self) -> None:
        """Hand over what is gathered when the tasks that are ready have had their turn."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            if self._results:
                self._hand_over()

    @uninterrupted
    def hand_over_the_rest(self) -> None:
        """At the end, whatever ends it; not what was refused: the one error would become two."""
        if self._results and not self._refused:
            self._hand_over()

    def _hand_over(self) -> None:
        results, self._results = self._results, []
        self._refused = True
        self._take(results)
        self._refused = False
