"""The adaptive policy in a client, on trio and asyncio."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

import headrace
from headrace import Endpoint, Reply, SettingsError
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace.transports.memory import MemoryTransport
from headrace.wire.rate_limit_detector import DOMINANT
from headrace_adaptive import Adaptive

HOST = "fake.test"


@pytest.mark.anyio
@pytest.mark.parametrize("start", [None, 1, 20])
async def test_policy_contract(start: int | None) -> None:
    await check_policy_contract(lambda: Adaptive(start=start))


def test_policy_is_active_only_with_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "adaptive" not in [policy.name for policy in FakeEndpoint().client(None).policies]
    client = FakeEndpoint().client(None, adaptive={"start": 7, "cooldown": 30})
    policy = next(policy for policy in client.policies if policy.name == "adaptive")
    assert isinstance(policy, Adaptive)
    assert (policy.limit(HOST), policy.cooldown) == (7, 30.0)
    monkeypatch.setenv("HEADRACE_ADAPTIVE_START", "9")
    assert any(isinstance(policy, Adaptive) for policy in FakeEndpoint().client(None).policies)


def test_without_start_send_is_returned_unchanged() -> None:
    async def send(call: headrace.Call) -> Reply:
        raise NotImplementedError

    assert Adaptive().wrap(send) is send
    assert Adaptive().limit(HOST) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": 0},
        {"start": 5, "least": 0},
        {"start": 5, "least": 6},
        {"start": 5, "most": 4},
        {"cut": 1.0},
        {"cut": 0.0},
        {"growth": 0.0},
        {"growth": float("nan")},
        {"cooldown": 0.0},
        {"cooldown": float("inf")},
    ],
)
def test_out_of_range_values_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="adaptive: "):
        Adaptive(**wrong)


@pytest.mark.anyio
async def test_calls_in_flight_never_exceed_the_limit() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.005))
    async with (
        endpoint.client([Adaptive(start=4)], max_in_flight=50) as client,
        client.map(["?"] * 40) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.most_in_flight == 4


@pytest.mark.anyio
async def test_429s_cut_the_limit_once_and_are_raised() -> None:
    adaptive, recorder = Adaptive(start=10), EventRecorder()
    async with FakeEndpoint(*[429] * (DOMINANT + 1)).client([adaptive], observers=[recorder]) as client:
        for _ in range(DOMINANT + 1):
            with pytest.raises(headrace.RateLimited):
                await client.chat("?")
        await client.chat("?")
    assert adaptive.limit(HOST) == 8
    assert recorder.data("adaptive") == [
        {"endpoint": HOST, "model": "fake-model", "limit": 8, "why": "rate_limited"}
    ]


@pytest.mark.anyio
async def test_tokens_removed_by_a_cut_are_not_reused() -> None:
    slow = Answer(delay=0.2)
    refusals = DOMINANT + 1  # which one of the first ten is refused is random
    endpoint = FakeEndpoint(*[slow] * 9, *[429] * refusals, otherwise=Answer(delay=0.001))
    seen: list[int] = []

    async def handle(call: headrace.Call) -> Reply:
        seen.append(endpoint.in_flight)
        return await endpoint.handle(call)

    client = headrace.Client(
        base_url=f"http://{HOST}/v1",
        model="m",
        transport=MemoryTransport(handle),
        policies=[Adaptive(start=10)],
    )
    async with client, client.map(["?"] * 40) as outcomes:
        assert [outcome.ok async for outcome in outcomes].count(False) == refusals
    # Ten at first. Then the limit is eight, so one of the remaining nine is not replaced.
    assert seen[:10] == list(range(10))
    assert max(seen[9 + refusals :]) == 7


@pytest.mark.anyio
@pytest.mark.parametrize(
    "step",
    [
        400,
        500,
        503,
        headrace.ConnectError("refused"),
        headrace.CallTimeout("slow"),
        Answer(status=429, body={"error": {"message": "no credit", "code": "insufficient_quota"}}),
    ],
)
async def test_other_errors_do_not_cut_the_limit(step: Any) -> None:
    adaptive = Adaptive(start=10)
    async with FakeEndpoint(otherwise=step).client([adaptive]) as client:
        with pytest.raises(headrace.CallError):
            await client.chat("?")
    assert adaptive.limit(HOST) == 10


@pytest.mark.trio
async def test_immediate_refusals_do_not_fail_all_waiting_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # It allows ten concurrent calls of two seconds and gets fifty; each refusal fails an item.
    refused = 0

    class TenAtOnce(FakeEndpoint):
        async def handle(self, call: headrace.Call) -> Reply:
            nonlocal refused
            if self.in_flight == 10:
                refused += 1
                self.then(429)
            else:
                self.then(Answer(delay=2.0))
            return await super().handle(call)

    async with (
        TenAtOnce().client([Adaptive(start=50)], max_in_flight=500) as client,
        client.map(["?"] * 1000) as outcomes,
    ):
        assert [outcome.ok async for outcome in outcomes].count(False) == refused
    # Forty at once, then one in five; without withheld tokens all waiting calls would be refused.
    assert 40 <= refused < 40 + 250


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
async def test_random_429s_do_not_lower_the_limit_for_long(
    autojump_clock: trio.testing.MockClock, share: float, seed: int
) -> None:
    rng, adaptive = random.Random(seed), Adaptive(start=50)

    class AtRandom(FakeEndpoint):
        async def handle(self, call: headrace.Call) -> Reply:
            self.then(429 if rng.random() < share else Answer(delay=rng.uniform(0.5, 1.5)))
            return await super().handle(call)

    limits = []
    async with AtRandom().client([adaptive], max_in_flight=50) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.map(itertools.repeat("?")).each, lambda outcome: None)
        for _ in range(120):
            await trio.sleep(1.0)
            limits.append(adaptive.limit(HOST) or 0)
        nursery.cancel_scope.cancel()
    assert sum(min(limit, 50) for limit in limits) >= 0.95 * 50 * len(limits)
    assert limits[-1] >= 40


@pytest.mark.trio
async def test_5xx_stops_growth_for_the_cooldown(autojump_clock: trio.testing.MockClock) -> None:
    adaptive = Adaptive(start=2, cooldown=15.0)
    endpoint = FakeEndpoint(503, otherwise=Answer(delay=1.0))
    async with endpoint.client([adaptive], max_in_flight=2) as client:
        with anyio.move_on_after(15.5):
            while True:
                async with client.map(["?"] * 2) as outcomes:
                    _ = [outcome async for outcome in outcomes]
        assert adaptive.limit(HOST) == 2
        async with client.map(["?"] * 4) as outcomes:
            _ = [outcome async for outcome in outcomes]
    assert adaptive.limit(HOST) == 3


@pytest.mark.trio
async def test_longer_retry_after_replaces_the_cooldown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    adaptive = Adaptive(start=100)
    refusal = Answer(status=429, headers={"retry-after": "40"})
    async with FakeEndpoint(otherwise=refusal).client([adaptive]) as client:
        limits = []
        for number in range(DOMINANT + 4):
            with pytest.raises(headrace.RateLimited):
                await client.chat("?")
            if number >= DOMINANT - 1:
                limits.append(adaptive.limit(HOST))
                await trio.sleep(20)
    assert limits == [80, 80, 64, 64, 51]


@pytest.mark.anyio
async def test_each_endpoint_has_its_own_limit() -> None:
    adaptive = Adaptive(start=10)
    endpoints = [Endpoint(f"http://{name}.test/v1", name=name, models=[name]) for name in ("a", "b")]
    fakes = {"a": FakeEndpoint(*[429] * DOMINANT), "b": FakeEndpoint()}

    async def handle(call: headrace.Call) -> Reply:
        return await fakes[call.endpoint.name].handle(call)

    client = headrace.Client(
        endpoints=endpoints, model="a", policies=[adaptive], transport=MemoryTransport(handle)
    )
    async with client:
        for _ in range(DOMINANT):
            with pytest.raises(headrace.RateLimited):
                await client.chat("?")
        await client.chat("?", model="b")
    assert (adaptive.limit("a"), adaptive.limit("b")) == (8, 10)


@pytest.mark.anyio
async def test_clients_that_share_the_policy_share_the_limit() -> None:
    adaptive, endpoint = Adaptive(start=3), FakeEndpoint(otherwise=Answer(delay=0.005))
    async with (
        endpoint.client([adaptive]) as one,
        endpoint.client([adaptive]) as other,
        one.map(["?"] * 20) as some,
        other.map(["?"] * 20) as others,
    ):
        assert all([outcome.ok async for outcome in some])
        assert all([outcome.ok async for outcome in others])
    assert endpoint.most_in_flight == 3


@pytest.mark.anyio
async def test_waiters_of_one_priority_are_fifo() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with endpoint.client([Adaptive(start=1)]) as client, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(client.chat, f"{number}")
            await anyio.wait_all_tasks_blocked()
    bodies = [attempt.body for attempt in endpoint.attempts]
    questions = [body["messages"][-1]["content"] for body in bodies if body is not None]
    assert questions == [f"{number}" for number in range(20)]


@pytest.mark.anyio
async def test_stream_holds_its_token_until_it_ends() -> None:
    adaptive, endpoint = Adaptive(start=1), FakeEndpoint(otherwise="one two three")
    async with endpoint.client([adaptive]) as client, anyio.create_task_group() as group:
        async with client.stream("?") as stream:
            await anext(stream)
            group.start_soon(client.chat, "?")
            await anyio.wait_all_tasks_blocked()
            assert len(endpoint.attempts) == 1
            _ = [chunk async for chunk in stream]
            await anyio.wait_all_tasks_blocked()
            assert len(endpoint.attempts) == 2
        async with client.stream("left early") as stream:
            await anext(stream)
        with pytest.raises(ZeroDivisionError):
            async with client.stream("the block fails") as stream:
                raise ZeroDivisionError
        assert (await client.chat("?")).text == "one two three"


@pytest.mark.anyio
async def test_429_for_a_stream_cuts_the_limit_and_releases_the_token() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    adaptive = Adaptive(start=5, least=1)
    policies: list[headrace.Policy] = [adaptive, Retry(attempts=20, base=0)]
    async with FakeEndpoint(*[429] * DOMINANT, "ok").client(policies) as client, client.stream("?") as stream:
        assert "".join([chunk.text async for chunk in stream]) == "ok"
    assert adaptive.limit(HOST) == 4


@pytest.mark.trio
async def test_deadline_can_pass_while_a_call_waits(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(Answer(delay=50.0))
    async with endpoint.client([Adaptive(start=1)]) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.chat, "slow")
        await trio.sleep(1)
        with pytest.raises(headrace.DeadlineExceeded, match=r"0 attempts"):
            await client.chat("?", deadline=3)
        assert trio.current_time() == 4.0
        # A waiter that gave up does not block others.
        assert (await client.chat("?", deadline=60)).text == "ok"
        assert trio.current_time() == 50.0


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(10))
async def test_cancellation_at_any_moment_loses_no_token(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    rng = random.Random(seed)
    kinds = 429, 503, None, None
    steps = [rng.choice(kinds) or Answer(delay=rng.random()) for _ in range(500)]
    endpoint, adaptive = FakeEndpoint(*steps), Adaptive(start=5, least=3)
    async with endpoint.client([adaptive, Retry(base=0.1, rng=rng)], max_in_flight=200) as client:

        async def one() -> None:
            await trio.sleep(rng.random() * 5)
            with trio.move_on_after(rng.random() * 3):
                try:
                    if rng.random() < 0.3:
                        async with client.stream("?") as stream:
                            _ = [chunk async for chunk in stream]
                    else:
                        await client.chat("?")
                except headrace.CallError:
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(one)
        assert endpoint.in_flight == 0
        # Withheld tokens come back with successes; then the limit is the number of concurrent calls.
        again = FakeEndpoint(*["ok"] * 40, otherwise=Answer(delay=1.0))
        async with again.client([adaptive]) as other:
            for _ in range(40):
                await other.chat("?")
            limit = adaptive.limit(HOST)
            assert limit is not None
            async with other.map(["?"] * limit) as outcomes:
                assert all([outcome.ok async for outcome in outcomes])
        assert again.most_in_flight == limit


@pytest.mark.anyio
async def test_call_succeeds_with_breaker_and_retry() -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    Retry = pytest.importorskip("headrace_retry").Retry
    adaptive = Adaptive(start=10)
    endpoint = FakeEndpoint(*[429] * DOMINANT, 503, "through")
    async with endpoint.client([adaptive, Breaker(), Retry(attempts=20, base=0)]) as client:
        assert (await client.chat("?")).text == "through"
    assert adaptive.limit(HOST) == 8


@pytest.mark.trio
async def test_single_call_goes_before_items_of_a_map(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=1.0))
    async with (
        endpoint.client([Adaptive(start=5)], max_in_flight=100) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.map(["bulk"] * 400).each, lambda outcome: None)
        await trio.sleep(2.5)
        began = trio.current_time()
        await client.chat("at once")
        # It waits until an attempt ends, then takes its own time.
        assert trio.current_time() - began == 1.5
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_limits_of_other_models_are_independent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    adaptive = Adaptive(start=2, least=1)
    endpoints = [Endpoint(f"http://{HOST}/v1", name=HOST, models={"sick": "sick-1", "well": "well-1"})]
    fakes = {
        "sick-1": FakeEndpoint(*[429] * DOMINANT, otherwise=Answer(delay=60.0)),
        "well-1": FakeEndpoint(),
    }

    async def handle(call: headrace.Call) -> Reply:
        return await fakes[call.request.model or ""].handle(call)

    client = headrace.Client(
        endpoints=endpoints, policies=[adaptive], transport=MemoryTransport(handle), max_in_flight=3
    )
    async with client, trio.open_nursery() as nursery:
        for _ in range(DOMINANT):
            with pytest.raises(headrace.RateLimited):
                await client.chat("?", model="sick")
        assert (adaptive.limit(HOST, "sick-1"), adaptive.limit(HOST, "well-1")) == (1, 2)
        assert adaptive.limit(HOST) == 1
        for _ in range(20):
            nursery.start_soon(lambda: client.chat("?", model="sick"))
        await trio.testing.wait_all_tasks_blocked()
        # Waiting calls hold no token of the client.
        assert client.in_flight == 1
        began = trio.current_time()
        assert (await client.chat("?", model="well")).text == "ok"
        assert trio.current_time() == began
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_waiting_attempts_do_not_count_as_in_use(
    autojump_clock: trio.testing.MockClock,
) -> None:
    adaptive, endpoint = Adaptive(start=40), FakeEndpoint(otherwise=Answer(delay=1.0))
    async with endpoint.client([adaptive], max_in_flight=50) as client, trio.open_nursery() as nursery:
        for _ in range(2000):
            nursery.start_soon(client.chat, "?")
    # It grows while 80 % of it is in use: fifty concurrent calls are 80 % of sixty-two.
    assert adaptive.limit(HOST) in range(50, 66)
    assert endpoint.most_in_flight == 50


@pytest.mark.trio
async def test_at_most_1000_unused_models_are_remembered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    adaptive, endpoint = Adaptive(start=1, most=1), FakeEndpoint(Answer(delay=30.0))
    async with endpoint.client([adaptive]) as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.chat("?", model="in-use"))
        await trio.sleep(1.0)
        for number in range(3000):
            await client.chat("?", model=f"model-{number}")
        assert len(list(adaptive._limits.all_values())) <= 1001
        await client.chat("?", model="in-use")
        assert trio.current_time() == 30.0


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_limits_restart_in_a_new_event_loop(backend: str) -> None:
    adaptive = Adaptive(start=10)

    async def main() -> None:
        async with FakeEndpoint(*[429] * DOMINANT).client([adaptive]) as client:
            assert adaptive.limit(HOST) == 10
            for _ in range(DOMINANT):
                with pytest.raises(headrace.RateLimited):
                    await client.chat("?")
        assert adaptive.limit(HOST) == 8

    anyio.run(main, backend="trio")
    assert adaptive.limit(HOST) == 8
    anyio.run(FakeEndpoint().client([adaptive]).__aenter__, backend=backend)
    assert adaptive.limit(HOST) == 10
