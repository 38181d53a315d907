"""Waiting calls go by priority: in virtual time with a server in memory, and over a real server."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
import trio

from headrace import Call, Client, RateLimited, Reply
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.rate_limit_detector import DOMINANT
from headrace_redis import Account
from headrace_redis.gcra import GcraLimits, GcraSchedule
from headrace_redis.server import RedisServer
from headrace_redis.shared_lane import BOOKING_TTL
from headrace_redis.turns import ExchangeResult
from redis_server import RedisProcess


class MemoryConnection:
    """A connection to a server in memory that answers after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._schedules: dict[str, GcraSchedule] = {}

    async def exchange(
        self, lane: str, base_url: str, limits: GcraLimits, tokens: list[int], *, horizon: float, **more: Any
    ) -> ExchangeResult:
        await anyio.sleep(self._delay)
        now = anyio.current_time()
        schedule = self._schedules.setdefault(lane, GcraSchedule(limits))
        schedule.refund(*more["refund"])
        if more["pause"]:
            schedule.pause(now, more["pause"])
        slots, wait = schedule.book_all(now, tokens, horizon + more["seconds_per_call"])
        return ExchangeResult(slots=slots, wait=wait, paused_for=max(0.0, schedule.paused_until - now))


@pytest.fixture(params=["with Redis", "without Redis"])
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Account]:
    """Return a factory of accounts whose server is in memory, or unavailable."""

    @asynccontextmanager
    async def connected(self: RedisServer, member: str) -> AsyncIterator[Any]:
        if request.param == "without Redis":
            raise ConnectionError
        yield memory

    memory = MemoryConnection(0.003)
    monkeypatch.setattr(RedisServer, "connected", connected)
    processes = 1 if request.param == "without Redis" else None
    return functools.partial(Account, url="redis://localhost", processes=processes)


def prompts(endpoint: FakeEndpoint) -> Iterator[str]:
    """Yield the prompts in the order in which they were sent."""
    for request in endpoint.attempts:
        assert request.body is not None
        yield request.body["messages"][0]["content"]


async def start_calls(client: Client, group: Any, *calls: tuple[str, int], **parameters: Any) -> None:
    """Start calls of these priorities, one after the other."""
    for text, priority in calls:
        group.start_soon(functools.partial(client.chat, text, priority=priority, **parameters))
        await anyio.sleep(0.001)


@pytest.mark.trio
async def test_calls_go_by_priority_and_then_fifo(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client(account(requests_per_minute=60).policies()) as client,
        trio.open_nursery() as nursery,
    ):
        await start_calls(client, nursery, ("gone at once", 0))
        await trio.sleep(0.1)
        await start_calls(
            client, nursery, ("a", 0), ("low", -1), ("b", 0), ("high", 5), ("c", 0), ("higher", 9)
        )
    assert list(prompts(endpoint)) == ["gone at once", "higher", "high", "a", "b", "c", "low"]


@pytest.mark.trio
async def test_a_single_call_goes_before_a_waiting_map(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint()
    policies = account(requests_per_minute=600, burst=0.1).policies()
    async with endpoint.client(policies, max_in_flight=200) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.map(["bulk"] * 100).each, lambda outcome: None)
        await trio.sleep(2)
        before = len(endpoint.attempts)
        for _ in range(5):
            await client.chat("now")
        after = list(prompts(endpoint))[before:]
        # Turns that are already booked, a quarter of a second's worth, are not taken back.
        assert after[:4].count("now") >= 1
        assert after.count("bulk") <= 5 * 3
    assert list(prompts(endpoint)).count("bulk") == 100
    assert endpoint.times[-1] - endpoint.times[0] <= 10.4 + 0.5  # and no turn was lost


@pytest.mark.trio
async def test_a_small_call_does_not_wait_for_the_tokens_of_a_large_one(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(prompt_tokens=10, completion_tokens=1000))
    policies = account(tokens_per_minute=6000, burst=5).policies()  # 100 tokens per second
    async with endpoint.client(policies) as client, trio.open_nursery() as nursery:
        await start_calls(client, nursery, ("large", -1), ("large", -1), max_tokens=1000)
        await trio.sleep(7)
        await client.chat("small", max_tokens=1)
        # The large call uses ten seconds' worth. A small one may go after five, a large one after ten.
        assert endpoint.times[1] - endpoint.times[0] < 7.5
    assert list(prompts(endpoint)) == ["large", "small", "large"]


@pytest.mark.trio
async def test_booked_calls_keep_their_order_after_a_pause(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    body = {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200"}}
    rejection = Answer(status=429, headers={"retry-after-ms": "3000"}, body=body)
    endpoint = FakeEndpoint(Answer(), rejection)
    policies = account(requests_per_minute=600, burst=0.1).policies()
    async with endpoint.client(policies) as client, trio.open_nursery() as nursery:
        await start_calls(client, nursery, ("first", 0))
        await trio.sleep(0.1)

        async def call_rejected() -> None:
            with pytest.raises(Exception, match="429"):
                await client.chat("refused")

        nursery.start_soon(call_rejected)
        await trio.sleep(0.001)
        await start_calls(client, nursery, *[(str(number), 0) for number in range(8)])
    assert list(prompts(endpoint)) == ["first", "refused", *map(str, range(8))]


@pytest.mark.trio
async def test_a_429_after_a_pause_pauses_again(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    rejection = Answer(status=429, headers={"retry-after": "10"})
    endpoint = FakeEndpoint(*[rejection] * (DOMINANT + 3), Answer(), rejection)
    async with endpoint.client(account().policies()) as client:
        for _ in range(DOMINANT + 3):
            with pytest.raises(RateLimited):
                await client.chat("Hallo")
        await client.chat("Hallo")
        with pytest.raises(RateLimited):
            await client.chat("by chance")
        await client.chat("Hallo")
    gaps = [later - earlier for earlier, later in itertools.pairwise(endpoint.times)]
    assert all(gap < 1 for gap in gaps[: DOMINANT - 1])
    assert all(10 <= gap < 11 for gap in gaps[DOMINANT - 1 : DOMINANT + 3])
    assert all(gap < 1 for gap in gaps[DOMINANT + 3 :])


@pytest.mark.trio
async def test_a_waiting_call_does_not_block_another_model(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint()
    policies = account(limits={"fake-model": {"requests_per_minute": 1}}).policies()
    async with endpoint.client(policies, max_in_flight=1) as client, trio.open_nursery() as nursery:
        await client.chat("first")
        nursery.start_soon(client.chat, "a minute later")
        await trio.sleep(1.0)
        assert client.in_flight == 0
        began = trio.current_time()
        await client.chat("another", model="another")
        assert trio.current_time() - began < 1.0
    assert list(prompts(endpoint)) == ["first", "another", "a minute later"]


@pytest.mark.trio
async def test_a_limit_is_used_and_kept_while_tokens_are_scarce(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    """Other calls want all tokens, so a call waits about 9 s for its own when its turn has come."""
    rng, sent_at = random.Random(1), list[float]()

    class Uneven(FakeEndpoint):
        async def handle(self, call: Call) -> Reply:
            if call.request.model:
                sent_at.append(call.now())
            else:
                await anyio.sleep(rng.uniform(0.5, 1.5))
            return await super().handle(call)

    policies = account(requests_per_minute=300, burst=0.5).policies()
    async with Uneven().client(policies, max_in_flight=10) as client, trio.open_nursery() as nursery:

        async def call_repeatedly() -> None:
            while True:
                await client.chat("?")

        async def request_repeatedly() -> None:
            while True:
                await client.request("GET", "/models")

        for _ in range(100):
            nursery.start_soon(request_repeatedly)
        for _ in range(150):
            nursery.start_soon(call_repeatedly)
        await trio.sleep(120.0)
        nursery.cancel_scope.cancel()
    # Booked calls may go `BOOKING_TTL` seconds late, so that many more may go at once.
    most = 5.0 * (0.5 + 2 * BOOKING_TTL) + 1
    assert all(
        len(sent_at) - begin - rest <= most + 5.0 * (until - since)
        for begin, since in enumerate(sent_at)
        for rest, until in enumerate(reversed(sent_at[begin:]))
    )
    assert len(sent_at) >= 0.7 * 5.0 * 120.0
    assert client.in_flight == client.limiter.statistics().tasks_waiting == 0


@pytest.mark.anyio
async def test_a_single_call_goes_before_a_waiting_map_over_a_real_server(redis: RedisProcess) -> None:
    endpoint = FakeEndpoint()
    policies = redis.account(requests_per_minute=1200, burst=0.05).policies()
    async with (
        endpoint.client(policies, max_in_flight=50) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.map(["bulk"] * 40).each, lambda outcome: None)
        with anyio.fail_after(20):
            while not endpoint.attempts:  # noqa: ASYNC110 - there is no event to wait for
                await anyio.sleep(0.01)
            await client.chat("now")
        assert len(endpoint.attempts) < 30
        group.cancel_scope.cancel()
