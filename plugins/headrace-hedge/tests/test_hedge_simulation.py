"""Hedging of the slowest calls and its cost: in virtual time, and over sockets."""

from __future__ import annotations

import contextlib
import random

import anyio
import httpx
import pytest
import trio
import trio.testing

import headrace
from headrace import Headers, Reply
from headrace.testing import Answer
from headrace.testing.server import Behaviour, endpoint_process
from headrace.transports.memory import MemoryTransport
from headrace_hedge import Hedge

OK = Answer().content("m")


class JitteryEndpoint:
    """An endpoint that answers in about a second, but one request in fifty in half a minute."""

    def __init__(self, seed: int, failing: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.failing = failing
        self.requests = self.in_flight = 0

    def delay(self) -> float:
        return self.rng.uniform(20.0, 40.0) if self.rng.random() < 0.02 else self.rng.uniform(0.7, 1.3)

    async def handle(self, call: headrace.Call) -> Reply:
        self.requests += 1
        self.in_flight += 1
        try:
            await trio.sleep(self.delay())
        finally:
            self.in_flight -= 1
        status = 503 if self.rng.random() < self.failing else 200
        return Reply(status, Headers([]), OK)

    def client(self, *policies: headrace.Policy) -> headrace.Client:
        return headrace.Client(
            base_url="http://fake.test/v1",
            model="m",
            policies=policies,
            transport=MemoryTransport(self.handle),
        )


async def latencies(endpoint: JitteryEndpoint, calls: int, *policies: headrace.Policy) -> list[float]:
    """The sorted latencies of calls by twenty tasks; the client has more tokens for extra requests."""
    taken: list[float] = []
    left = iter(range(calls))

    async def caller() -> None:
        taken.extend([(await client.chat("?")).elapsed for _ in left])

    async with endpoint.client(*policies) as client, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(caller)
    return sorted(taken)


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("after", [2.0, "p95"])
async def test_hedging_shortens_the_slowest_calls_with_few_extra_requests(
    after: float | str, seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    without = await latencies(JitteryEndpoint(seed), 2000)
    hedge, endpoint = Hedge(after=after), JitteryEndpoint(seed)
    hedged = await latencies(endpoint, 2000, hedge)
    assert without[1980] > 20.0
    assert hedged[1980] < 5.0
    assert 20 < hedge.won <= hedge.sent
    assert endpoint.requests == 2000 + hedge.sent
    assert hedge.sent <= 0.05 * 2000
    assert endpoint.in_flight == 0


@pytest.mark.trio
async def test_unknown_percentile_hedges_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hedge = Hedge(after="p50", share=1.0)
    await latencies(JitteryEndpoint(1), 100, hedge)
    assert hedge.sent == 0
    await latencies(JitteryEndpoint(2), 100, hedge)
    assert 25 < hedge.sent < 75


@pytest.mark.trio
async def test_slow_endpoint_does_not_get_everything_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Slow(JitteryEndpoint):
        def delay(self) -> float:
            return 10.0 if self.requests > 5000 else 1.0

    hedge, endpoint = Hedge(after=2.0), Slow(1)
    await latencies(endpoint, 7000, hedge)
    # The share of the calls since it became slow, and that of the thousand calls before.
    assert hedge.sent <= 0.05 * 2000 + 0.05 * 1000 + 1
    assert hedge.sent >= 0.05 * 2000


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(20))
async def test_cancellation_at_any_moment_leaves_nothing_behind(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    Adaptive = pytest.importorskip("headrace_adaptive").Adaptive
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint, rng = JitteryEndpoint(seed, failing=0.2), random.Random(seed)
    hedge, adaptive = Hedge(after=1.0, most=2, share=1.0), Adaptive(start=60, least=60)
    policies: list[headrace.Policy] = [hedge, Retry(base=0.1, rng=rng), Breaker(failure_rate=1.0), adaptive]
    before = trio.lowlevel.current_statistics().tasks_living
    cancelled = 0
    async with endpoint.client(*policies) as client:

        async def one() -> None:
            nonlocal cancelled
            with trio.move_on_after(rng.choice([0.7, 1.0, 1.3, 2.0]) * rng.uniform(0.5, 1.5)) as scope:
                with contextlib.suppress(headrace.ServerError):
                    await client.chat("?")
            cancelled += scope.cancelled_caught

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one)
            # Each task waits for the end of its requests.
            assert (endpoint.in_flight, client.in_flight) == (0, 0)
            assert trio.lowlevel.current_statistics().tasks_living == before
    assert cancelled
    assert hedge.sent


@pytest.mark.anyio
async def test_stalled_requests_are_answered_and_dropped_over_sockets() -> None:
    pytest.importorskip("uvicorn")
    hedge = Hedge(after=0.5, most=4, share=1.0)
    stalling = Behaviour(errors=0.2, faults=["stall"], stall=60.0, jitter=0.05, latency=0.05)
    questions = [f"Question {number}?" for number in range(40)]
    with anyio.fail_after(50):
        async with (
            endpoint_process(stalling) as endpoint,
            headrace.Client(base_url=endpoint.base_url, model="m", policies=[hedge]) as client,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            async with client.map(questions, max_in_flight=20) as outcomes:
                replies = [outcome.unwrap() async for outcome in outcomes]
            while True:
                # A stall ends when its connection is dropped, which happens while the client is open.
                answer = await http.get(endpoint.base_url.removesuffix("/v1") + "/headrace/counts")
                counts = answer.json()
                if not counts["in_flight"]:
                    break
                await anyio.sleep(0.05)
    assert len(replies) == 40
    assert 40 < counts["requests"] <= 40 + hedge.sent
    assert sum(reply.attempts for reply in replies) <= 40 + hedge.sent
    assert 0 < counts["faults"]["stall"] <= hedge.sent
