"""Who waits for a turn goes by priority: in virtual time, with a server in memory, and over a real one."""

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
from headrace_redis.gcra import Limits, Schedule
from headrace_redis.lane import KEPT
from headrace_redis.lane import Answer as Told
from headrace_redis.server import Server
from redis_server import RedisServer


class Memory:
    """Stands for a connection: the script's rule, after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._schedules: dict[str, Schedule] = {}

    async def exchange(
        self, lane: str, base_url: str, limits: Limits, asked: list[int], *, horizon: float, **more: Any
    ) -> Told:
        await anyio.sleep(self._delay)
        now = anyio.current_time()
        schedule = self._schedules.setdefault(lane, Schedule(limits))
        schedule.give_back(*more["back"])
        if more["pause"]:
            schedule.pause(now, more["pause"])
        slots, wait = schedule.book_all(now, asked, horizon + more["seconds_per_call"])
        return Told(slots=slots, wait=wait, paused_for=max(0.0, schedule.paused - now))


@pytest.fixture(params=["with Redis", "without Redis"])
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Account]:
    """Makes an account whose server is in memory, or away."""

    @asynccontextmanager
    async def connected(self: Server, member: str) -> AsyncIterator[Any]:
        if request.param == "without Redis":
            raise ConnectionError
        yield memory

    memory = Memory(0.003)
    monkeypatch.setattr(Server, "connected", connected)
    processes = 1 if request.param == "without Redis" else None
    return functools.partial(Account, url="redis://localhost", processes=processes)


def asked(endpoint: FakeEndpoint) -> Iterator[str]:
    """What was asked, in the order in which it was sent."""
    for request in endpoint.attempts:
        assert request.body is not None
        yield request.body["messages"][0]["content"]


async def come(client: Client, group: Any, *calls: tuple[str, int], **parameters: Any) -> None:
    """Calls of these priorities, one after the other."""
    for text, priority in calls:
        group.start_soon(functools.partial(client.chat, text, priority=priority, **parameters))
        await anyio.sleep(0.001)


@pytest.mark.trio
async def test_the_highest_priority_goes_first_and_then_who_came_first(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client(account(requests_per_minute=60).policies()) as client,
        trio.open_nursery() as nursery,
    ):
        await come(client, nursery, ("gone at once", 0))
        await trio.sleep(0.1)
        await come(client, nursery, ("a", 0), ("low", -1), ("b", 0), ("high", 5), ("c", 0), ("higher", 9))
    assert list(asked(endpoint)) == ["gone at once", "higher", "high", "a", "b", "c", "low"]


@pytest.mark.trio
async def test_a_single_call_passes_the_map_that_stands_in_line_and_holds_up_nobody_for_long(
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
        after = list(asked(endpoint))[before:]
        # What is booked already, a quarter of a second's worth, is not taken back.
        assert after[:4].count("now") >= 1
        assert after.count("bulk") <= 5 * 3
    assert list(asked(endpoint)).count("bulk") == 100
    assert endpoint.times[-1] - endpoint.times[0] <= 10.4 + 0.5  # and no turn was lost by it


@pytest.mark.trio
async def test_a_small_call_does_not_wait_for_the_tokens_of_a_large_one(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(prompt_tokens=10, completion_tokens=1000))
    policies = account(tokens_per_minute=6000, burst=5).policies()  # 100 tokens a second
    async with endpoint.client(policies) as client, trio.open_nursery() as nursery:
        await come(client, nursery, ("large", -1), ("large", -1), max_tokens=1000)
        await trio.sleep(7)
        await client.chat("small", max_tokens=1)
        # The large one takes ten seconds' worth: five later a small one may go, the next large one after ten.
        assert endpoint.times[1] - endpoint.times[0] < 7.5
    assert list(asked(endpoint)) == ["large", "small", "large"]


@pytest.mark.trio
async def test_after_a_pause_those_who_were_booked_keep_their_place(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    body = {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200"}}
    refusal = Answer(status=429, headers={"retry-after-ms": "3000"}, body=body)
    endpoint = FakeEndpoint(Answer(), refusal)
    policies = account(requests_per_minute=600, burst=0.1).policies()
    async with endpoint.client(policies) as client, trio.open_nursery() as nursery:
        await come(client, nursery, ("first", 0))
        await trio.sleep(0.1)

        async def refused() -> None:
            with pytest.raises(Exception, match="429"):
                await client.chat("refused")

        nursery.start_soon(refused)
        await trio.sleep(0.001)
        await come(client, nursery, *[(str(number), 0) for number in range(8)])
    assert list(asked(endpoint)) == ["first", "refused", *map(str, range(8))]


@pytest.mark.trio
async def test_after_a_pause_the_first_call_shows_whether_it_is_over(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    refusal = Answer(status=429, headers={"retry-after": "10"})
    endpoint = FakeEndpoint(*[refusal] * (DOMINANT + 3), Answer(), refusal)
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
async def test_a_call_that_waits_for_its_turn_lets_another_model_pass(
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
    assert list(asked(endpoint)) == ["first", "another", "a minute later"]


@pytest.mark.trio
async def test_while_tokens_are_scarce_the_limit_is_kept_and_used(
    account: Callable[..., Account], autojump_clock: trio.testing.MockClock
) -> None:
    """Others want all tokens, so that a call whose turn has come waits some 9 s for its own."""
    rng, went = random.Random(1), list[float]()

    class Uneven(FakeEndpoint):
        async def handle(self, call: Call) -> Reply:
            if call.request.model:
                went.append(call.now())
            else:
                await anyio.sleep(rng.uniform(0.5, 1.5))
            return await super().handle(call)

    policies = account(requests_per_minute=300, burst=0.5).policies()
    async with Uneven().client(policies, max_in_flight=10) as client, trio.open_nursery() as nursery:

        async def ask() -> None:
            while True:
                await client.chat("?")

        async def ask_for_no_model() -> None:
            while True:
                await client.request("GET", "/models")

        for _ in range(100):
            nursery.start_soon(ask_for_no_model)
        for _ in range(150):
            nursery.start_soon(ask)
        await trio.sleep(120.0)
        nursery.cancel_scope.cancel()
    # What was booked may go `KEPT` seconds late, so that as much more is seen at once.
    most = 5.0 * (0.5 + 2 * KEPT) + 1
    assert all(
        len(went) - begin - rest <= most + 5.0 * (until - since)
        for begin, since in enumerate(went)
        for rest, until in enumerate(reversed(went[begin:]))
    )
    assert len(went) >= 0.7 * 5.0 * 120.0
    assert client.in_flight == client.limiter.statistics().tasks_waiting == 0


@pytest.mark.anyio
async def test_over_a_real_server(redis: RedisServer) -> None:
    endpoint = FakeEndpoint()
    policies = redis.account(requests_per_minute=1200, burst=0.05).policies()
    async with (
        endpoint.client(policies, max_in_flight=50) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.map(["bulk"] * 40).each, lambda outcome: None)
        with anyio.fail_after(20):
            while not endpoint.attempts:  # noqa: ASYNC110 - of what happens elsewhere there is no event
                await anyio.sleep(0.01)
            await client.chat("now")
        assert len(endpoint.attempts) < 30
        group.cancel_scope.cancel()
