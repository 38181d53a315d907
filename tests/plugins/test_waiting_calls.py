"""Waiting calls hold no token: with retry, pace and the breaker, in virtual time and on both event loops."""

from __future__ import annotations

import functools
from typing import Any

import anyio
import attrs
import pytest
import trio

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_breaker import Breaker
from headrace_pace import Pace
from headrace_retry import Retry

IN_A_MINUTE = Answer(status=503, headers={"retry-after": "60"})


@attrs.define
class Sick(FakeEndpoint):
    """Rejects all calls of the model "sick" with ``Retry-After: retry_after``, and answers others in 1 s.

    ``on_the_wire`` sums up the seconds of all its attempts.
    """

    retry_after: float = 20.0
    on_the_wire: float = attrs.field(default=0.0, init=False)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        is_sick = call.request.model == "sick"
        refusal = Answer(status=503, headers={"retry-after": f"{self.retry_after:g}"})
        self.then(refusal if is_sick else Answer(delay=1.0))
        self.on_the_wire += 0.0 if is_sick else 1.0
        return await super().handle(call)


def requested_models(endpoint: FakeEndpoint) -> list[Any]:
    return [(request.body or {})["messages"][0]["content"] for request in endpoint.attempts]


@pytest.mark.trio
async def test_call_that_waits_a_minute_for_a_retry_lets_others_pass(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint(IN_A_MINUTE)
    policies: list[headrace.Policy] = [Retry(), Breaker(), Pace()]
    async with endpoint.client(policies, max_in_flight=1) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.chat, "waits")
        await trio.testing.wait_all_tasks_blocked()
        async with client.map(["passes"] * 5) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
        assert trio.current_time() == 0.0
    assert requested_models(endpoint) == ["waits", *["passes"] * 5, "waits"]
    assert 60.0 <= endpoint.times[-1] < 61.0


@pytest.mark.anyio
async def test_call_that_waits_for_a_retry_lets_others_pass_in_real_time() -> None:
    endpoint = FakeEndpoint(Answer(status=503, headers={"retry-after-ms": "200"}))
    policies: list[headrace.Policy] = [Retry(), Breaker(), Pace()]
    async with endpoint.client(policies, max_in_flight=1) as client, anyio.create_task_group() as group:
        group.start_soon(client.chat, "waits")
        await anyio.wait_all_tasks_blocked()
        await client.chat("passes")
    assert requested_models(endpoint) == ["waits", "passes", "waits"]


@pytest.mark.trio
async def test_sleeping_retries_of_a_failing_model_do_not_slow_another_model(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """When sleeping calls held the ten tokens, 0.64 calls were in flight; the healthy model waited 128 s."""
    endpoint = Sick()
    policies: list[headrace.Policy] = [Retry(attempts=5, budget=None), Pace()]
    async with endpoint.client(policies, max_in_flight=10) as client, trio.open_nursery() as nursery:
        sick = [{"messages": [], "model": "sick"}] * 200
        nursery.start_soon(client.map(sick).each, lambda outcome: None)
        await trio.sleep(5.0)
        began = trio.current_time()
        async with client.map([{"messages": [], "model": "healthy"}] * 300) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
        seconds = trio.current_time() - began
        assert seconds == pytest.approx(30.0, abs=1.0), "300 calls of 1 s with ten tokens"
        assert endpoint.on_the_wire / seconds == pytest.approx(10.0, rel=0.05)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_map_with_its_own_limit_has_at_most_four_times_as_many_open_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint, drawn, most_held, done = Sick(retry_after=30.0), 0, 0, 0

    def items() -> Any:
        nonlocal drawn, most_held
        for number in range(200):
            drawn += 1
            most_held = max(most_held, drawn - done)
            yield {"messages": [], "model": "sick" if number % 2 else "healthy"}

    def count(outcome: headrace.Outcome) -> None:
        nonlocal done
        done += 1

    async with endpoint.client([Retry(budget=None)], max_in_flight=100) as client:
        await client.map(items(), max_in_flight=5).each(count)
    assert done == 200
    assert most_held == 4 * 5
    assert endpoint.most_in_flight == 5


@pytest.mark.trio
async def test_rejected_model_does_not_delay_other_models_or_higher_priorities(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refused = Answer(
        status=429,
        headers={
            "retry-after": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "60s",
        },
    )
    endpoint = FakeEndpoint(refused)
    policies: list[headrace.Policy] = [Retry(budget=None), Breaker(), Pace()]
    async with endpoint.client(policies, max_in_flight=3) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.map(["bulk"] * 50).each, lambda outcome: None)
        await trio.sleep(1.0)
        assert client.in_flight == 0
        await client.chat("another model", model="another")
        await client.chat("urgent, of another model", model="another", priority=9)
        assert trio.current_time() == 1.0
        nursery.start_soon(functools.partial(client.chat, "urgent", priority=9))
        await trio.sleep(59.5)
        assert requested_models(endpoint).index("urgent") <= 6, "first of the waiting calls after the pause"
