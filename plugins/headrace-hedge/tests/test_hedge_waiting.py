"""When the delay of a hedge starts, in virtual time: with the token, and not while the request waits."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import attrs
import pytest
import trio
import trio.testing

import headrace
from headrace import Call, Policy, Reply, Send, Stage
from headrace.testing import Answer, EventRecorder, FakeEndpoint
from headrace_hedge import Hedge

SLOW = Answer("slow", delay=50.0)


def hedge(after: float | str = 1.0, **more: float) -> Hedge:
    """A policy that may hedge every call."""
    return Hedge(after=after, share=1.0, **more)  # type: ignore[arg-type]


async def fill_budget(*policies: Policy) -> None:
    """Make quick calls, so that a later call may have several extra requests."""
    async with FakeEndpoint().client(policies) as client:
        for _ in range(5):
            await client.chat("?")


@attrs.frozen
class WaitingPolicy:
    """Waits in `Call.waiting` before each attempt, for the next of ``seconds``."""

    seconds: Iterable[float]
    stage: Stage
    name: str = "waiting"

    def wrap(self, send: Send) -> Send:
        seconds = iter(self.seconds)

        async def wait(call: Call) -> Reply:
            async with call.waiting():
                await anyio.sleep(next(seconds, 0.0))
            return await send(call)

        return wait


@attrs.frozen
class RetryPolicy:
    """Sends a call again ``seconds`` after its first failure."""

    seconds: float
    name: str = "retrying"
    stage: Stage = Stage.PERSIST

    def wrap(self, send: Send) -> Send:
        async def retry(call: Call) -> Reply:
            try:
                return await send(call)
            except headrace.CallError:
                async with call.waiting():
                    await anyio.sleep(self.seconds)
                return await send(call)

        return retry


@pytest.mark.trio
async def test_delay_does_not_run_while_the_request_waits_for_a_token(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = hedge()
    await fill_budget(policy)
    endpoint = FakeEndpoint(Answer(delay=0.9), *[SLOW] * 3, otherwise="quick")
    async with endpoint.client([policy], max_in_flight=1) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.chat, "holds the token until 0.9")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(client.chat, "has it from then on")
        await trio.sleep(1.5)
        client.limiter.total_tokens = 2
        await trio.sleep(0.3)
        assert endpoint.times == [0.0, 0.9], "1.8: it is on the wire for 0.9 s"
        await trio.sleep(0.2)
        assert endpoint.times == [0.0, 0.9, 1.9]
    assert policy.sent == 1


@pytest.mark.trio
@pytest.mark.parametrize("stage", [Stage.PERSIST, Stage.PROTECT, Stage.PACE])
async def test_delay_does_not_run_while_the_request_waits_in_a_policy(
    stage: Stage, autojump_clock: trio.testing.MockClock
) -> None:
    policy = hedge()
    await fill_budget(policy)
    endpoint = FakeEndpoint(SLOW, "quick")
    async with endpoint.client([policy, WaitingPolicy([30.0], stage)]) as client:
        assert (await client.chat("?")).text == "quick"
    assert endpoint.times == [30.0, 31.0]


@pytest.mark.trio
async def test_delay_does_not_run_while_the_request_waits_for_a_retry(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = hedge()
    await fill_budget(policy)
    endpoint = FakeEndpoint(503, SLOW, "quick")
    async with endpoint.client([policy, RetryPolicy(30.0)]) as client:
        assert (await client.chat("?")).text == "quick"
    assert endpoint.times == [0.0, 30.0, 31.0]


@pytest.mark.trio
async def test_delay_does_not_run_while_a_token_is_reacquired(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = hedge(most=2)
    await fill_budget(policy)
    endpoint = FakeEndpoint("streamed", SLOW, "quick")
    policies: list[Policy] = [policy, WaitingPolicy([0.0, 10.0], Stage.PACE)]
    async with endpoint.client(policies, max_in_flight=2) as client, trio.open_nursery() as nursery:
        async with client.stream("holds a token until 20.0"):
            nursery.start_soon(client.chat, "?")
            await trio.sleep(5)
            client.limiter.total_tokens = 1
            await trio.sleep(15)
        client.limiter.total_tokens = 3
    assert endpoint.times == [0.0, 20.0, 21.0]


@pytest.mark.trio
async def test_extra_request_is_not_sent_without_a_token(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy, recorder = hedge(most=3), EventRecorder()
    await fill_budget(policy)
    endpoint = FakeEndpoint(Answer(delay=5.0), otherwise="quick")
    async with endpoint.client([policy], max_in_flight=1, observers=[recorder]) as client:
        assert (await client.chat("?")).attempts == 1
        assert client.in_flight == client.limiter.statistics().tasks_waiting == 0
    assert (len(endpoint.attempts), policy.sent, recorder.events) == (1, 0, [])
    # Extra requests that were not sent stay in the budget.
    endpoint = FakeEndpoint(*[SLOW] * 3, otherwise="quick")
    async with endpoint.client([policy]) as client:
        assert (await client.chat("?")).text == "quick"
    assert policy.sent == 3


@pytest.mark.trio
async def test_losers_release_their_tokens(autojump_clock: trio.testing.MockClock) -> None:
    policy = hedge()
    await fill_budget(policy)
    endpoint = FakeEndpoint(SLOW, Answer("quick", delay=1.0), otherwise="ok")
    async with endpoint.client([policy], max_in_flight=2) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.chat, "?")
        await trio.sleep(1.5)
        assert client.in_flight == 2, "the first, and the extra one"
        nursery.start_soon(client.chat, "?")
        nursery.start_soon(client.chat, "?")
        await trio.testing.wait_all_tasks_blocked()
        assert client.limiter.statistics().tasks_waiting == 2
        await trio.sleep(1.0)
        assert client.in_flight == client.limiter.statistics().tasks_waiting == 0
    assert endpoint.times == [0.0, 1.0, 2.0, 2.0]


@pytest.mark.trio
@pytest.mark.parametrize("waits", [0.0, 3.0])
async def test_percentile_counts_only_time_on_the_wire(
    waits: float, autojump_clock: trio.testing.MockClock
) -> None:
    policy = hedge("p95")
    policies: list[Policy] = [policy, WaitingPolicy([waits] * 120, Stage.PACE)]
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.1))
    async with endpoint.client(policies, max_in_flight=1) as client, trio.open_nursery() as nursery:
        for _ in range(120):  # the last one waits for 12 s or more
            nursery.start_soon(client.chat, "?")
    assert policy.sent == 0
    endpoint, began = FakeEndpoint(SLOW, "quick"), trio.current_time()
    async with endpoint.client([policy]) as client:
        assert (await client.chat("?")).text == "quick"
    assert [round(time - began, 3) for time in endpoint.times] == [0.0, 0.1]


@pytest.mark.trio
async def test_next_extra_request_follows_a_failed_one_after_the_same_delay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = hedge(most=2)
    await fill_budget(policy)
    endpoint = FakeEndpoint(SLOW, 400, "quick")
    async with endpoint.client([policy]) as client:
        assert (await client.chat("?")).text == "quick"
    assert endpoint.times == [0.0, 1.0, 2.0]


@pytest.mark.trio
async def test_extra_requests_count_toward_the_limit_of_a_map(autojump_clock: trio.testing.MockClock) -> None:
    policy, endpoint = hedge(), FakeEndpoint(otherwise=Answer(delay=5.0))
    async with endpoint.client([policy]) as client, client.map(["?"] * 20, max_in_flight=4) as outcomes:
        assert len([outcome async for outcome in outcomes if outcome.ok]) == 20
    assert endpoint.most_in_flight == 4
