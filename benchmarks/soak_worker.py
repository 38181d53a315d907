"""The process of `soak.py` that makes rounds of calls, and counts resources after each round.

Between two rounds no call is in flight, so the counts show the resources that calls have not released.
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
from benchmarks.measurement import KEY, MODEL
from benchmarks.policies import policies_without_pauses
from benchmarks.resource_counts import count_resources

from headrace import Client, Endpoint, HeadraceError, Outcome

IN_FLIGHT = 100
ITEMS_PER_MAP = 2_000
TASKS_PER_KIND = 6
"""Tasks that make calls of one kind, in addition to the maps."""

CHAT_MODEL = "simulated-chat"
"""The model of all calls except those of maps; the fast endpoint does not have it."""

MOST_LINES = 8
"""Number of lines of code in the output of --trace."""


class Load:
    """Makes the calls of a client, and counts them."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._chance = random.Random(seed)
        self.counts = Counter(calls=0, failed=0, streams=0, cancelled=0)

    async def round(self, seconds: float) -> None:
        """Make calls of all kinds for this number of seconds."""
        self._end = anyio.current_time() + seconds
        async with anyio.create_task_group() as group:
            group.start_soon(self._maps)
            for kind in (self._stream, self._cancelled, self._structured):
                for _ in range(TASKS_PER_KIND):
                    group.start_soon(self._again_and_again, kind)

    async def _maps(self) -> None:
        """Maps, one after the other; the last is left with calls in flight."""
        while anyio.current_time() < self._end:
            async with self._client.map(bodies(ITEMS_PER_MAP)) as outcomes:
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
        """A stream that is read completely, left early, or cancelled."""
        self.counts["streams"] += 1
        chunks = self._chance.choice([1, 5, 10_000])
        with anyio.move_on_after(self._chance.choice([0.02, 30.0])):
            async with self._client.stream(self._prompt(), model=CHAT_MODEL) as stream:
                async for _ in stream:
                    chunks -= 1
                    if not chunks:
                        break

    async def _cancelled(self) -> None:
        """A call that is cancelled at any moment, or that exceeds its deadline."""
        deadline = self._chance.choice([None, 0.005])
        with anyio.move_on_after(self._chance.uniform(0.0, 0.03)) as scope:
            await self._client.chat(self._prompt(), model=CHAT_MODEL, deadline=deadline)
        self.counts["cancelled"] += scope.cancelled_caught

    async def _structured(self) -> None:
        """A call with structured output and a tag."""
        kind: Any = self._chance.choice([Literal["Garten", "Haushalt"], dict[str, int], list[int]])
        tags = {"part": str(self._chance.randrange(4))}
        await self._client.chat(self._prompt(), answer=kind, model=CHAT_MODEL, tags=tags)

    def _prompt(self) -> str:
        return f"Sort product {self._chance.randrange(10**9)}"


async def soak(quick: str, faulty: Sequence[str], seconds: float, rounds: int, *, trace: bool) -> None:
    """Make calls in rounds, and print the resource counts after each round as JSON.

    With ``trace``, it also prints where memory was allocated in the second half that is still in use at the
    end.
    """
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    endpoints = [Endpoint(quick, KEY, name="quick", models=[MODEL], weight=10)]
    endpoints += [
        Endpoint(url, KEY, name=f"faulty {number}", models=[MODEL, CHAT_MODEL])
        for number, url in enumerate(faulty, 1)
    ]
    samples = list[dict[str, float]]()
    async with Client(
        endpoints=endpoints, max_in_flight=IN_FLIGHT, policies=policies_without_pauses()
    ) as client:
        load = Load(client, seed=20261124)
        began = time.perf_counter()
        for number in range(rounds):
            if trace and number == rounds // 2:
                tracemalloc.start(10)
                await load.round(seconds / rounds)  # so that memory of earlier rounds is not traced
                before = tracemalloc.take_snapshot()
            await load.round(seconds / rounds)
            elapsed = time.perf_counter() - began
            samples.append({"seconds": round(elapsed, 1)} | load.counts | await count_resources(client))
    grown = tracemalloc.take_snapshot().compare_to(before, "lineno")[:MOST_LINES] if trace else []
    print(json.dumps({"samples": samples, "grown": list(map(str, grown))}))
