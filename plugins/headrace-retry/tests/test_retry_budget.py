"""The retry budget in a client: on asyncio and trio, and in virtual time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

import headrace
from headrace.testing import Answer, EventRecorder, FakeEndpoint
from headrace_retry import Retry


class QuotaRecordingEndpoint(FakeEndpoint):
    """An endpoint that records, for each attempt, the tokens left in a policy's budget."""

    def __init__(self, policy: Retry, *steps: Any, **keywords: Any) -> None:
        super().__init__(*steps, **keywords)
        self.policy = policy
        self.left: list[int | None] = []

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        self.left.append(self.policy.quota)
        return await super().handle(call)


async def fail(client: headrace.Client) -> headrace.CallError:
    with pytest.raises(headrace.CallError) as caught:
        await client.chat("Hallo")
    return caught.value


@pytest.mark.anyio
async def test_an_exhausted_budget_raises_the_error_at_once_and_says_why() -> None:
    policy, endpoint = Retry(budget=5, base=0.001), FakeEndpoint(otherwise=503)
    async with endpoint.client([policy]) as client:
        error = await fail(client)
        assert isinstance(error, headrace.ServerError)
        assert error.retryable
        assert error.attempts == 2
        assert "injected 503" in str(error)
        assert "not retried: the retry budget of this client is used up" in str(error)
        assert (await fail(client)).attempts == 1


@pytest.mark.anyio
async def test_an_error_that_is_not_retried_costs_nothing_and_does_not_mention_the_budget() -> None:
    policy = Retry(budget=0, base=0.001)
    steps = (400, Answer(status=429, headers={"retry-after": "300"}))
    async with FakeEndpoint(*steps).client([policy]) as client:
        assert "budget" not in str(await fail(client))
        assert "budget" not in str(await fail(client))


@pytest.mark.anyio
async def test_a_retry_after_a_timeout_costs_ten_and_its_success_returns_ten() -> None:
    policy = Retry(base=0.001)
    endpoint = QuotaRecordingEndpoint(policy, headrace.CallTimeout("slow"), otherwise="ok")
    async with endpoint.client([policy]) as client:
        await client.chat("Hallo")
    assert endpoint.left == [500, 490]
    assert policy.quota == 500


@pytest.mark.anyio
async def test_successes_refill_the_budget_up_to_its_capacity() -> None:
    policy, endpoint = Retry(budget=10, base=0.001), FakeEndpoint(500, 500, 500)
    async with endpoint.client([policy]) as client:
        await fail(client)
        seen = []
        for _ in range(12):
            await client.chat("Hallo")
            seen.append(policy.quota)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]


@pytest.mark.anyio
async def test_a_stream_succeeds_with_its_first_chunk() -> None:
    policy = Retry(budget=10, attempts=2, base=0.001)
    endpoint = QuotaRecordingEndpoint(policy, 500, 500, "one two", 500, "one two")
    async with endpoint.client([policy]) as client:
        await fail(client)
        for _ in range(2):
            async with client.stream("Hallo") as stream:
                await anext(stream)
                assert policy.quota == 6
    assert endpoint.left == [10, 5, 5, 6, 1]


@pytest.mark.anyio
async def test_clients_share_a_budget_only_if_they_share_the_policy() -> None:
    shared, other = Retry(budget=5, base=0.001), Retry(budget=5, base=0.001)
    for policy, attempts in ((shared, 2), (shared, 1), (other, 2)):
        async with FakeEndpoint(otherwise=500).client([policy]) as client:
            assert (await fail(client)).attempts == attempts


@pytest.mark.anyio
@pytest.mark.parametrize("policy", [Retry(budget=None, base=0.001), Retry.classic()])
async def test_a_budget_of_none_has_no_limit(policy: Retry) -> None:
    policy.base = 0.0
    endpoint = FakeEndpoint(otherwise=500)
    async with endpoint.client([policy]) as client:
        for _ in range(200):
            await fail(client)
    assert len(endpoint.attempts) == 200 * policy.attempts
    assert policy.quota is None


def test_the_budget_comes_from_a_file_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quota() -> int | None:
        client = FakeEndpoint().client(None)
        return next(policy for policy in client.policies if isinstance(policy, Retry)).quota

    monkeypatch.chdir(tmp_path)
    assert quota() == 500
    (tmp_path / "headrace.toml").write_text("[retry]\nbudget = 50\n")
    assert quota() == 50
    monkeypatch.setenv("HEADRACE_RETRY_BUDGET", "null")
    assert quota() is None


@pytest.mark.anyio
async def test_observers_get_one_event_per_shortage() -> None:
    policy, recorder, endpoint = Retry(budget=10, base=0.001), EventRecorder(), FakeEndpoint(otherwise=500)
    async with endpoint.client([policy], observers=[recorder]) as client:
        for _ in range(20):
            await fail(client)
        assert recorder.data("retry_budget") == [{"budget": 10, "left": 0}]
        # The shortage ends when half of the tokens are back; four are too few.
        endpoint.then(*["ok"] * 4)
        for _ in range(4):
            await client.chat("Hallo")
        await fail(client)
        assert len(recorder.data("retry_budget")) == 1
        endpoint.then("ok")
        await client.chat("Hallo")
        await fail(client)
        await fail(client)
    assert recorder.data("retry_budget") == [{"budget": 10, "left": 0}] * 2


@pytest.mark.trio
async def test_a_call_cancelled_while_waiting_returns_its_tokens(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy, endpoint = Retry(base=60.0, cap=60.0, jitter="none"), FakeEndpoint(otherwise=503)
    async with endpoint.client([policy]) as client:
        with anyio.move_on_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(client.chat, "Hallo")
                await trio.sleep(5)
                assert policy.quota == 250
        assert policy.quota == 500
        # A call cancelled while its retry is in flight pays for that retry.
        endpoint.then(503, Answer(delay=100.0))
        with anyio.move_on_after(100):
            await client.chat("Hallo")
    assert policy.quota == 495


@pytest.mark.anyio
async def test_a_retry_that_an_inner_policy_rejects_costs_nothing() -> None:
    class Rejecting:
        name = "rejecting"
        stage = headrace.Stage.PROTECT

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def refuse(call: headrace.Call) -> headrace.Reply:
                if call.attempts:
                    raise headrace.CircuitOpen("open", 30.0)
                return await send(call)

            return refuse

    policy = Retry(base=0.001)
    async with FakeEndpoint(otherwise=500).client([policy, Rejecting()]) as client:
        for _ in range(3):
            assert isinstance(await fail(client), headrace.CircuitOpen)
    assert policy.quota == 500


@pytest.mark.trio
@pytest.mark.parametrize("attempts", [3, 5])
async def test_the_budget_limits_attempts_at_an_endpoint_that_only_fails(
    autojump_clock: trio.testing.MockClock, attempts: int
) -> None:
    # Ten calls per second for ten minutes, and a 5xx for each.
    calls, policy, endpoint = 6000, Retry(attempts=attempts), FakeEndpoint(otherwise=Answer(status=503))
    async with endpoint.client([policy], max_in_flight=1000) as client, trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(fail, client)
            await trio.sleep(0.1)
    assert policy.quota == 0
    # Without a budget, each call would make all of its attempts.
    assert len(endpoint.attempts) == calls + 500 // 5


@pytest.mark.trio
async def test_single_failures_among_successes_are_always_retried(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # One attempt in ten fails, and all calls succeed, however many there are.
    rng = random.Random(1)
    steps = [500 if rng.random() < 0.1 else "ok" for _ in range(6000)]
    policy = Retry(attempts=8, rng=random.Random(1))
    async with (
        FakeEndpoint(*steps).client([policy]) as client,
        client.map(["Hallo"] * 5000, max_in_flight=500) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert (policy.quota or 0) > 400


@pytest.mark.trio
async def test_a_429_with_retry_after_is_retried_at_no_cost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # Every call is rejected once: ten times as many retries as the budget would allow.
    limited = Answer(status=429, headers={"retry-after": "3"})
    policy, endpoint = Retry(), FakeEndpoint(*[limited] * 1000)
    async with (
        endpoint.client([policy]) as client,
        client.map(["Hallo"] * 1000, max_in_flight=1000) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert (policy.quota, len(endpoint.attempts)) == (500, 2000)
    # A 429 without Retry-After costs as much as any other failure.
    async with FakeEndpoint(429, otherwise=Answer(delay=1.0)).client([policy]) as client:
        with anyio.move_on_after(1):
            await client.chat("Hallo")
    assert policy.quota == 495
