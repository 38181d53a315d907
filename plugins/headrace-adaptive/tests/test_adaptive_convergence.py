"""Where the limit converges at an endpoint with a limit, in virtual time."""

from __future__ import annotations

import itertools
import random
from statistics import fmean

import pytest
import trio
import trio.testing

import headrace
from headrace import Headers, Reply
from headrace.testing import Answer
from headrace.transports.memory import MemoryTransport
from headrace_adaptive import Adaptive

pytestmark = pytest.mark.trio

HOST = "fake.test"
OK, REFUSED = Answer().content("m"), Answer(status=429).content("m")


class LimitedEndpoint:
    """An endpoint that answers in about two seconds, and refuses calls above its limit with 429.

    Args:
        seed: Of the random latencies.
        most: Concurrent calls.
        rate: Calls per second, with a burst of one second's worth.
    """

    def __init__(self, seed: int, most: int | None = None, rate: float | None = None) -> None:
        self.most, self.rate = most, rate
        self.answered = self.refused = 0
        self._rng = random.Random(seed)
        self._in_flight = 0
        self._tokens, self._filled_at = rate or 0.0, 0.0

    async def handle(self, call: headrace.Call) -> Reply:
        if not self._admits(trio.current_time()):
            self.refused += 1
            return Reply(429, Headers([]), REFUSED)
        self._in_flight += 1
        try:
            await trio.sleep(self._rng.uniform(1.0, 3.0))
        finally:
            self._in_flight -= 1
        self.answered += 1
        return Reply(200, Headers([]), OK)

    def _admits(self, now: float) -> bool:
        if self.most is not None and self._in_flight >= self.most:
            return False
        if self.rate is not None:
            self._tokens = min(self.rate, self._tokens + (now - self._filled_at) * self.rate)
            self._filled_at = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
        return True


def make_client(endpoint: LimitedEndpoint, max_in_flight: int, *policies: headrace.Policy) -> headrace.Client:
    return headrace.Client(
        base_url=f"http://{HOST}/v1",
        model="m",
        max_in_flight=max_in_flight,
        policies=policies,
        transport=MemoryTransport(endpoint.handle),
    )


async def limits(
    endpoint: LimitedEndpoint, *clients: Adaptive, seconds: int, apart: float = 0.0
) -> list[list[int]]:
    """Each client's limit once per second, while calls wait; clients start ``apart`` seconds apart."""
    Retry = pytest.importorskip("headrace_retry").Retry
    seen: list[list[int]] = [[] for _ in clients]

    async def make_calls(adaptive: Adaptive, after: float) -> None:
        await trio.sleep(after)
        retry = Retry(attempts=1000, budget=None, rng=random.Random(1))
        async with make_client(endpoint, 150, adaptive, retry) as client:
            await client.map(itertools.repeat("?")).each(_assert_ok)

    async with trio.open_nursery() as nursery:
        for number, adaptive in enumerate(clients):
            nursery.start_soon(make_calls, adaptive, number * apart)
        for _ in range(seconds):
            await trio.sleep(1.0)
            for client_limits, adaptive in zip(seen, clients, strict=True):
                limit = adaptive.limit(HOST)
                assert limit is not None
                client_limits.append(limit)
        nursery.cancel_scope.cancel()
    return seen


def _assert_ok(outcome: headrace.Outcome) -> None:
    assert outcome.ok


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("start", "most"), [(5, 30), (100, 30), (20, 10)])
async def test_limit_converges_to_a_concurrency_limit(
    start: int, most: int, seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = LimitedEndpoint(seed, most=most)
    (seen,) = await limits(endpoint, Adaptive(start=start), seconds=300)
    settled = seen[120:]
    assert min(settled) >= 0.8 * most
    assert max(settled) <= 1.1 * most
    assert endpoint.answered >= 0.75 * most * 300 / 2


@pytest.mark.parametrize("start", [10, 100])
async def test_limit_converges_to_a_rate_limit(start: int, autojump_clock: trio.testing.MockClock) -> None:
    # Calls take two seconds each, so 20 per second are 40 at once; the burst hides that for a while.
    endpoint = LimitedEndpoint(1, rate=20.0)
    (seen,) = await limits(endpoint, Adaptive(start=start), seconds=360)
    assert 0.8 * 40 <= fmean(seen[120:]) <= 1.1 * 40
    assert min(seen[120:]) >= 0.8 * 40
    assert max(seen[120:]) <= 1.15 * 40
    assert endpoint.answered >= 0.85 * 20 * 360


@pytest.mark.parametrize(("starts", "apart"), [((40, 5), 0.0), ((20, 20), 120.0)])
async def test_two_clients_converge_to_equal_shares(
    starts: tuple[int, int], apart: float, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = LimitedEndpoint(1, most=40)
    clients = [Adaptive(start=start) for start in starts]
    one, other = await limits(endpoint, *clients, seconds=500, apart=apart)
    share = fmean(one[250:]) / (fmean(one[250:]) + fmean(other[250:]))
    assert 0.45 <= share <= 0.55
    assert 0.8 * 40 <= fmean(one[250:]) + fmean(other[250:]) <= 1.1 * 40


async def test_limit_does_not_grow_without_demand(autojump_clock: trio.testing.MockClock) -> None:
    endpoint, adaptive = LimitedEndpoint(1), Adaptive(start=20)
    async with make_client(endpoint, 15, adaptive) as client, client.map(["?"] * 3000) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    assert adaptive.limit(HOST) == 20


async def test_demand_bounds_the_limit(autojump_clock: trio.testing.MockClock) -> None:
    endpoint, adaptive = LimitedEndpoint(1), Adaptive(start=20)
    async with make_client(endpoint, 40, adaptive) as client, client.map(["?"] * 6000) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    assert adaptive.limit(HOST) in range(48, 54)  # 40 are 80 % of 50
