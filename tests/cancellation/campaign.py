"""Cancels calls at random moments, through each pair of policies, and checks what they leave behind.

All times are multiples of a small step, so that cancellations often coincide with what they interrupt: a new
token, a reply that arrives, a stream's last part.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
import attrs
import trio
import trio.testing

import headrace
from headrace import Call, Client, Endpoint, Policy, PriorityCapacityLimiter, Reply
from headrace._support.clock import on_asyncio
from headrace.plugins import Waiter, WaitingQueue
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.fake import Step
from headrace.transports.memory import MemoryTransport
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_cache import Cache
from headrace_cost import Cost
from headrace_hedge import Hedge
from headrace_logging import Logging
from headrace_pace import Pace
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route

SPAN = 4.0
"""Seconds in which the calls of one client start."""

PRICES = {"m": {"input": "0", "output": "100000"}, "other": {"input": "0", "output": "10"}}


@attrs.frozen
class World:
    """The environment of one client's calls.

    Attributes:
        rng: The source of all randomness.
        scale: Real or virtual seconds per second of the campaign.
        folder: For files.
    """

    rng: random.Random
    scale: float
    folder: Path

    def moment(self, most: float) -> float:
        """One of few times up to ``most``."""
        return self.rng.randrange(int(most * 20) + 1) / 20 * self.scale

    def step(self) -> Step:
        """The reply to an attempt."""
        kind = self.rng.random()
        if kind < 0.1:
            wait = {"retry-after-ms": str(int(self.moment(1.0) * 1000))}
            return Answer(status=429, headers=wait, delay=self.moment(0.5))
        if kind < 0.2:
            return Answer(status=503, delay=self.moment(1.0))
        if kind < 0.25:
            return headrace.ConnectError("refused")
        if kind < 0.3:
            return Answer(body=b"{", delay=self.moment(0.5))
        text = self.rng.choice(["1", "one two three", '{"number": 1}'])
        return Answer(text, delay=self.moment(1.0), completion_tokens=self.rng.randrange(10))


POLICIES: dict[str, Callable[[World], Policy]] = {
    "adaptive": lambda world: Adaptive(start=6, least=3, cooldown=world.scale),
    "breaker": lambda world: Breaker(failure_rate=0.7, open_for=0.5 * world.scale, down_after=world.scale),
    "cache": lambda world: Cache(path=str(world.folder / f"{world.rng.random()}.sqlite")),
    "cost": lambda world: Cost(prices=PRICES, budget=world.rng.randrange(20, 400)),
    "hedge": lambda world: Hedge(after=0.3 * world.scale, most=2, share=1.0),
    "logging": lambda world: Logging(),
    "pace": lambda world: Pace(requests_per_minute=2000 / world.scale, burst=world.scale),
    "repair": lambda world: Repair(attempts=3),
    "retry": lambda world: Retry(attempts=4, base=0.1 * world.scale, budget=None, rng=world.rng),
    "route": lambda world: Route(by=world.rng.choice(["weight", "order", "least_in_flight"]), rng=world.rng),
}
"""One policy of each kind."""


class LeftBehindError(Exception):
    """Something was left behind."""


@attrs.define
class Figures:
    """The results of a campaign.

    Attributes:
        calls: Calls made.
        ends: How they ended: ``ok``, ``cancelled`` or the code of their error.
        attempts: Attempts that reached an endpoint.
        clients: Clients, each with other policies.
    """

    calls: int = 0
    ends: Counter[str] = attrs.field(factory=Counter)
    attempts: int = 0
    clients: int = 0

    def __str__(self) -> str:
        ends = ", ".join(f"{end} {number:,}" for end, number in self.ends.most_common())
        return (
            f"{self.calls:,} calls through {self.clients} combinations of policies, "
            f"{self.attempts:,} attempts: {ends}; nothing was left behind"
        )


def combinations() -> list[tuple[str, ...]]:
    """Each policy alone, and each pair of them."""
    return [*((name,) for name in POLICIES), *itertools.combinations(POLICIES, 2)]


def perform(calls: int, seed: int, backend: str, folder: Path, scale: float) -> Figures:
    """Make ``calls`` calls, the same number through each combination of policies.

    Raises:
        LeftBehindError: Something was left behind. The message says what, and by which policies.
    """
    figures = Figures()
    chosen = combinations()
    gc.freeze()  # so that older objects are not searched again and again
    for number, names in enumerate(chosen):
        share = calls * (number + 1) // len(chosen) - calls * number // len(chosen)
        world = World(random.Random(seed * 1000 + number), scale, folder)
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)} if backend == "trio" else {}
        try:
            anyio.run(_one_client, world, names, share, figures, backend=backend, backend_options=options)
        except LeftBehindError as error:
            raise LeftBehindError(f"{' and '.join(names)}, seed {seed}, {backend}: {error}") from None
    gc.unfreeze()
    return figures


async def _one_client(world: World, names: Sequence[str], calls: int, figures: Figures) -> None:
    files, tasks = _open_files(), _tasks()
    await _use_a_client(world, names, calls, figures)
    gc.collect()
    if _open_files() > files or _tasks() != tasks:
        raise LeftBehindError(f"{_open_files() - files} files and {_tasks() - tasks} tasks")


async def _use_a_client(world: World, names: Sequence[str], calls: int, figures: Figures) -> None:
    fakes = {name: FakeEndpoint() for name in "ab"}

    async def handle(call: Call) -> Reply:
        fake = fakes[call.endpoint.name]
        fake.then(world.step())
        return await fake.handle(call)

    async with Client(
        endpoints=[
            Endpoint("http://a.test/v1", name="a", max_in_flight=5),
            Endpoint("http://b.test/v1", name="b", weight=2),
        ],
        model="m",
        policies=[POLICIES[name](world) for name in names],
        transport=MemoryTransport(handle),
        max_in_flight=10,
    ) as client:
        tasks = _tasks()
        async with anyio.create_task_group() as group:
            for _ in range(calls):
                group.start_soon(_one_call, client, world, figures)
        figures.calls += calls
        figures.clients += 1
        figures.attempts += sum(len(fake.attempts) for fake in fakes.values())
        client.limiter.total_tokens = 1  # a lost one would be missing
        with anyio.move_on_after(600) as scope:
            await _until_answered(client)
        if scope.cancelled_caught:
            raise LeftBehindError("a later call is not answered")
        _check(client, fakes, tasks)


async def _until_answered(client: Client) -> None:
    while True:
        try:
            await client.chat("again", model="other", max_tokens=1)
        except headrace.BudgetExceeded:
            return
        except headrace.CallError:
            await anyio.sleep(0.05)
        else:
            return


async def _one_call(client: Client, world: World, figures: Figures) -> None:
    rng = world.rng
    await anyio.sleep(world.moment(SPAN))
    seconds = world.moment(2.0) if rng.random() < 0.95 else math.inf
    end = "cancelled"
    async with _cancelled_after(seconds, rng):
        try:
            await _make(client, world)
            end = "ok"
        except headrace.HeadraceError as error:
            end = getattr(error, "code", type(error).__name__)
    figures.ends[end] += 1


async def _make(client: Client, world: World) -> None:
    rng = world.rng
    text, priority = f"question {rng.randrange(30)}", rng.randrange(-1, 2)
    kind = rng.random()
    if kind < 0.5:
        await client.chat(text, priority=priority, max_tokens=10)
    elif kind < 0.7:
        async with client.stream(text, priority=priority, max_tokens=10) as stream:
            async for _ in stream:
                await anyio.lowlevel.checkpoint()
                if rng.random() < 0.2:
                    break
    elif kind < 0.8:
        await client.chat(text, answer=int, priority=priority, max_tokens=10)
    elif kind < 0.9:
        await client.chat(text, deadline=world.moment(1.0) + 0.05 * world.scale, max_tokens=10)
    else:
        async with client.map([text] * 4, max_in_flight=2) as outcomes:
            async for outcome in outcomes:
                if rng.random() < 0.2:
                    break
                outcome.ok  # noqa: B018


@contextlib.asynccontextmanager
async def _cancelled_after(seconds: float, rng: random.Random) -> AsyncIterator[None]:
    """A block that is cancelled by anyio, or in asyncio's own way."""
    if seconds == math.inf:
        yield
    elif on_asyncio() and rng.random() < 0.5:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                yield
    else:
        with anyio.move_on_after(seconds):
            yield


def _check(client: Client, fakes: dict[str, FakeEndpoint], tasks: int) -> None:
    """Raise `LeftBehindError` if a token, a waiter, a slot, a reservation or a task is left."""
    left: dict[str, object] = {}
    if _tasks() != tasks:
        left["tasks"] = _tasks() - tasks
    for name, fake in fakes.items():
        if fake.in_flight:
            left[f"in flight at {name}"] = fake.in_flight
    gc.collect()
    for found in gc.get_objects():
        kind = type(found)
        if kind is PriorityCapacityLimiter:
            if found.borrowed_tokens or found.statistics().tasks_waiting:
                left["a limiter"] = found
        elif kind is WaitingQueue:
            if len(found) or found._lines or found._priorities:
                left["a queue"] = len(found)
        elif kind is Waiter:
            left["a waiter"] = found.wanted
    for policy in client.policies:
        if isinstance(policy, Route) and any(policy.in_flight(name) for name in fakes):
            left["room"] = {name: policy.in_flight(name) for name in fakes}
        if isinstance(policy, Cost) and policy._account is not None:
            reserved = getattr(policy._account, "reserved", 0)
            if reserved:
                left["reserved"] = reserved
    if left:
        raise LeftBehindError(str(left))


def _tasks() -> int:
    if on_asyncio():
        return len(asyncio.all_tasks())
    return trio.lowlevel.current_statistics().tasks_living


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
