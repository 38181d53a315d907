"""The process of `soak.py` that makes the calls: rounds of all kinds of them, and a look at what each left.

Between two rounds nothing is under way, so what is counted there is what calls have left behind.
"""

from __future__ import annotations

import json
import logging
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import anyio
from benchmarks.clients.headrace_map import bodies
from benchmarks.leftovers import look
from benchmarks.measuring import KEY, MODEL
from benchmarks.policies import without_pauses

from headrace import Client, Endpoint, HeadraceError, Outcome

IN_FLIGHT = 100
IN_A_MAP = 2_000
OF_EACH_KIND = 6
"""Tasks beside the maps that make calls of one kind."""

CHATTY = "simulated-chat"
"""The model of all calls but the maps'; the endpoint that is quick has it not."""

PLACES_NAMED = 8
"""Lines of code that are named where memory is looked into."""


class Load:
    """What is asked of a client."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._chance = random.Random(seed)
        self.counts = Counter(calls=0, failed=0, streams=0, cancelled=0)

    async def round(self, seconds: float) -> None:
        """Make calls of all kinds for so long."""
        self._end = anyio.current_time() + seconds
        async with anyio.create_task_group() as group:
            group.start_soon(self._maps)
            for kind in (self._stream, self._cancelled, self._answered):
                for _ in range(OF_EACH_KIND):
                    group.start_soon(self._again_and_again, kind)

    async def _maps(self) -> None:
        """Maps, one after the other; the last is left with calls in flight."""
        while anyio.current_time() < self._end:
            async with self._client.map(bodies(IN_A_MAP)) as outcomes:
                async for outcome in outcomes:
                    self._count(outcome)
                    if anyio.current_time() > self._end:
                        break

    def _count(self, outcome: Outcome) -> None:
        self.counts["calls"] += 1
        self.counts["failed"] += not outcome.ok

    async def _again_and_again(self, kind: Callable[[], Awaitable[None]]) -> None:
        while anyio.current_time() < self._end:
            self.counts["calls"] += 1
            try:
                await kind()
            except HeadraceError:
                self.counts["failed"] += 1

    async def _stream(self) -> None:
        """A stream that is read to its end, left early, or cancelled."""
        self.counts["streams"] += 1
        pieces = self._chance.choice([1, 5, 10_000])
        with anyio.move_on_after(self._chance.choice([0.02, 30.0])):
            async with self._client.stream(self._prompt(), model=CHATTY) as stream:
                async for _ in stream:
                    pieces -= 1
                    if not pieces:
                        break

    async def _cancelled(self) -> None:
        """A call that is cancelled at any moment of its life, or whose deadline passes."""
        deadline = self._chance.choice([None, 0.005])
        with anyio.move_on_after(self._chance.uniform(0.0, 0.03)) as scope:
            await self._client.chat(self._prompt(), model=CHATTY, deadline=deadline)
        self.counts["cancelled"] += scope.cancelled_caught

    async def _answered(self) -> None:
        """A call with a type of answer, and a tag."""
        kind: Any = self._chance.choice([Literal["Garten", "Haushalt"], dict[str, int], list[int]])
        tags = {"part": str(self._chance.randrange(4))}
        await self._client.chat(self._prompt(), answer=kind, model=CHATTY, tags=tags)

    def _prompt(self) -> str:
        return f"Sort product {self._chance.randrange(10**9)}"


async def soak(quick: str, faulty: Sequence[str], seconds: float, rounds: int, *, trace: bool) -> None:
    """Make calls in so many rounds, and print as JSON what was seen after each.

    With ``trace``, also where the memory was allocated that is there at the end and was not half-way.
    """
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    endpoints = [Endpoint(quick, KEY, name="quick", models=[MODEL], weight=10)]
    endpoints += [
        Endpoint(url, KEY, name=f"faulty {number}", models=[MODEL, CHATTY])
        for number, url in enumerate(faulty, 1)
    ]
    samples = list[dict[str, float]]()
    async with Client(endpoints=endpoints, max_in_flight=IN_FLIGHT, policies=without_pauses()) as client:
        load = Load(client, seed=20261124)
        began = time.perf_counter()
        for number in range(rounds):
            if trace and number == rounds // 2:
                tracemalloc.start(10)
                await load.round(seconds / rounds)  # what is there then, was made since
                before = tracemalloc.take_snapshot()
            await load.round(seconds / rounds)
            elapsed = time.perf_counter() - began
            samples.append({"seconds": round(elapsed, 1)} | load.counts | await look(client))
    grown = tracemalloc.take_snapshot().compare_to(before, "lineno")[:PLACES_NAMED] if trace else []
    print(json.dumps({"samples": samples, "grown": list(map(str, grown))}))
