"""The schedule by its definition, and the script within Redis, which computes the same."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace_redis.gcra import GcraLimits, GcraSchedule
from headrace_redis.server import RedisServer
from redis_server import RedisProcess

SECOND = 1_000_000

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3 * SECOND),  # µs since the step before
        st.lists(st.integers(0, 5000), max_size=8),  # tokens of each call
        st.integers(-2, 4),  # requests refunded
        st.integers(-2000, 2000),  # tokens refunded
        st.sampled_from([0, 0, 0, 0.5, 2]),  # a pause
    ),
    max_size=12,
)
LIMITS = st.builds(
    GcraLimits.per_minute,
    st.none() | st.integers(1, 100_000),
    st.none() | st.integers(1000, 10_000_000),
    st.sampled_from([0.1, 1.0, 2.5]),
)


def test_a_burst_goes_at_once_and_then_one_call_per_interval() -> None:
    schedule = GcraSchedule(GcraLimits.per_minute(60, None, burst=3))
    assert schedule.book_all(100.0, [0] * 6, horizon=10) == ((0, 0, 0, 1, 2, 3), 0)


def test_nothing_is_booked_beyond_the_horizon() -> None:
    schedule = GcraSchedule(GcraLimits.per_minute(60, None, burst=1))
    assert schedule.book_all(0.0, [0] * 6, horizon=2) == ((0, 1, 2), 1)
    assert schedule.book(0.0, 0, horizon=2) is None
    assert schedule.book(1.0, 0, horizon=2) == 3


def test_a_call_larger_than_the_burst_goes_when_nothing_is_owed() -> None:
    schedule = GcraSchedule(GcraLimits.per_minute(None, 60, burst=10))
    assert [schedule.book(0.0, tokens, horizon=1000) for tokens in (100, 1, 50)] == [0, 91, 101]


def test_refunded_turns_can_be_booked_again() -> None:
    schedule = GcraSchedule(GcraLimits.per_minute(60, None, burst=1))
    assert schedule.book_all(0.0, [0] * 3, horizon=10)[0] == (0, 1, 2)
    schedule.refund(2, 0)
    assert schedule.book(0.0, 0, horizon=10) == 1


def test_there_is_no_burst_after_a_pause() -> None:
    schedule = GcraSchedule(GcraLimits.per_minute(60, None, burst=5))
    schedule.pause(0.0, 30)
    schedule.pause(0.0, 10)  # a shorter pause changes nothing
    assert schedule.book_all(0.0, [0] * 3, horizon=100)[0] == (30, 31, 32)


def test_without_limits_no_call_waits() -> None:
    assert GcraLimits.per_minute(None, None, 1).none
    assert GcraSchedule(GcraLimits()).book_all(5.0, [1_000_000] * 3, horizon=0) == ((0, 0, 0), 0)


def test_a_share_multiplies_the_intervals() -> None:
    schedule = GcraSchedule.without_burst(GcraLimits.per_minute(60, None, burst=4).share(2), now=0.0)
    assert schedule.book_all(0.0, [0] * 3, horizon=10)[0] == (0, 2, 4)


@given(
    rate=st.integers(1, 1000),
    burst=st.sampled_from([0.1, 1.0, 3.0]),
    arrivals=st.lists(st.floats(0, 2), max_size=60),
)
def test_any_window_sees_at_most_the_rate_and_one_burst(
    rate: int, burst: float, arrivals: list[float]
) -> None:
    schedule, now, slots = GcraSchedule(GcraLimits(1 / rate, 0, burst)), 1000.0, []
    for gap in arrivals:
        now += gap
        slot = schedule.book(now, 0, horizon=1.0)
        if slot is not None:
            slots.append(slot)
    for first in range(len(slots)):
        for last in range(first, len(slots)):
            most = (slots[last] - slots[first] + max(burst, 1 / rate)) * rate
            assert last - first + 1 <= most + 1e-3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=LIMITS,
    steps=STEPS,
    begin=st.integers(10**15, 2 * 10**15),
    seconds_per_call=st.sampled_from([0.0, 0.0, 1.5]),
)
def test_the_script_computes_the_same_as_the_schedule(
    redis: RedisProcess,
    limits: GcraLimits,
    steps: list[tuple[int, list[int], int, int, float]],
    begin: int,
    seconds_per_call: float,
) -> None:
    horizon = 0.25

    async def compare() -> None:
        in_us = GcraLimits(limits.interval * SECOND, limits.per_token * SECOND, limits.burst * SECOND)
        schedule, now = GcraSchedule(in_us), begin
        async with RedisServer(redis.url, f"t{begin}", 20.0).connected("m") as server:
            for gap, calls, requests, tokens, pause in steps:
                now += gap
                schedule.refund(requests, tokens)
                if pause:
                    schedule.pause(now, pause * SECOND)
                slots, wait = schedule.book_all(now, calls, (horizon + seconds_per_call) * SECOND)
                result = await server.exchange(
                    "lane",
                    "",
                    limits,
                    calls,
                    horizon=horizon,
                    seconds_per_call=seconds_per_call,
                    refund=(requests, tokens),
                    pause=pause,
                    now=str(now),
                )
                assert len(result.slots) == len(slots)
                for value, slot in zip(result.slots, slots, strict=True):
                    assert value * SECOND == pytest.approx(slot, abs=3)
                assert result.paused_for * SECOND == pytest.approx(
                    max(0.0, schedule.paused_until - now), abs=3
                )
                assert result.wait * SECOND == pytest.approx(wait, rel=1e-6, abs=3)

    redis.ask("FLUSHALL")
    anyio.run(compare)


@pytest.mark.anyio
async def test_each_member_gets_a_turn_even_if_others_joined_since(redis: RedisProcess) -> None:
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(RedisServer(redis.url, "t", 20.0).connected(name))
            for name in "abc"
        ]
        limits, now = GcraLimits.per_minute(60, None, 1), str(10**15)
        for each in members:
            await each.exchange("lane", "", limits, [], horizon=0.25, seconds_per_call=1.0, now=now)
        # "a" only knows of itself.
        for each, slot in zip(members[::-1], (0.0, 1.0, 2.0), strict=True):
            result = await each.exchange("lane", "", limits, [0], horizon=0.25, seconds_per_call=1.0, now=now)
            assert result.slots == (slot,)
        result = await members[0].exchange(
            "lane", "", limits, [0, 0], horizon=0.25, seconds_per_call=1.0, now=now
        )
        assert result.slots == (3.0,)
