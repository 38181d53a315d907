"""The sequences of AWS's standard retry mode, without an event loop and through the policy."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

import headrace
from headrace.testing import FakeEndpoint
from headrace_retry import Retry
from headrace_retry.decision import RetrySchedule
from headrace_retry.quota import RETRY_COST, Quota

SEQUENCES = [
    pytest.param(500, 3, 20.0, [500, 500, 200], [1.0, 2.0], [495, 490, 495], id="succeeds at the third"),
    pytest.param(500, 3, 20.0, [502, 502, 502], [1.0, 2.0], [495, 490, 490], id="fails three times"),
    pytest.param(5, 3, 20.0, [500, 502], [1.0], [0, 0], id="quota for one retry"),
    pytest.param(0, 3, 20.0, [500], [], [0], id="no quota"),
    pytest.param(500, 5, 20.0, [500] * 5, [1.0, 2.0, 4.0, 8.0], [495, 490, 485, 480, 480], id="doubles"),
    pytest.param(500, 5, 3.0, [500] * 5, [1.0, 2.0, 3.0, 3.0], [495, 490, 485, 480, 480], id="capped"),
]
"""The sequences of AWS's standard retry mode, jitter fixed at 1: quota, attempts, longest backoff, statuses;
then the delays, and the quota after each response."""


@pytest.mark.parametrize(("start", "attempts", "cap", "statuses", "delays", "left"), SEQUENCES)
def test_schedule_and_quota_follow_the_standard_mode(
    start: int, attempts: int, cap: float, statuses: list[int], delays: list[float], left: list[int]
) -> None:
    schedule = RetrySchedule(
        attempts=attempts,
        base=1.0,
        factor=2.0,
        cap=cap,
        jitter="none",
        max_elapsed=None,
        max_retry_after=120.0,
    )
    quota, cost = Quota(start), 0
    waited: list[float] = []
    seen: list[float] = []
    for attempt, status in enumerate(statuses, 1):
        if status == 200:
            quota.record_success(cost)
        else:
            delay = schedule.delay(attempt, None, 0.0, None, random.Random())
            if delay is not None and quota.try_acquire(RETRY_COST):
                waited.append(delay)
                cost = RETRY_COST
        seen.append(quota.left)
    assert (waited, seen) == (delays, left)


class MaximumJitter(random.Random):
    """Jitter fixed at 1: draws always give the maximum."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.trio
@pytest.mark.parametrize("jitter", ["none", "full"])
@pytest.mark.parametrize(("budget", "attempts", "cap", "statuses", "delays", "left"), SEQUENCES)
async def test_the_policy_follows_the_standard_mode(
    autojump_clock: trio.testing.MockClock,
    budget: int,
    attempts: int,
    cap: float,
    statuses: list[int],
    delays: list[float],
    left: list[int],
    jitter: Any,
) -> None:
    policy = Retry(budget=budget, attempts=attempts, base=1.0, cap=cap, jitter=jitter, rng=MaximumJitter())
    endpoint, seen = FakeEndpoint(*statuses, otherwise=418), list[int | None]()

    class Watcher:
        name = "watcher"

        def notify(self, event: headrace.Event) -> None:
            if event.name == "retry":
                seen.append(policy.quota)

    async with endpoint.client([policy], observers=[Watcher()]) as client:
        if statuses[-1] == 200:
            assert (await client.chat("Hallo")).attempts == len(statuses)
        else:
            with pytest.raises(headrace.ServerError) as caught:
                await client.chat("Hallo")
            assert caught.value.attempts == len(statuses)
    assert [b - a for a, b in zip(endpoint.times, endpoint.times[1:], strict=False)] == delays
    assert [*seen, policy.quota] == left
