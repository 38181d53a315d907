"""Waiting calls hold no tokens, and booked turns keep to the limit; in virtual time."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.abc
import attrs
import pytest
import trio

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_pace import Pace

HOST, MODEL = "fake.test", "fake-model"
SECONDS = 120.0

EXHAUSTED = Answer(
    status=429,
    headers={
        "retry-after": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    },
)


@attrs.define
class SlowModels(FakeEndpoint):
    """An endpoint whose models answer after ``delays`` seconds, by name; others at once."""

    delays: dict[str, float] = attrs.field(factory=dict)
    sent_at: dict[str, list[float]] = attrs.field(factory=dict, init=False)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        model = call.request.model or ""
        self.sent_at.setdefault(model, []).append(anyio.current_time())
        if model in self.delays:
            self.then(Answer(delay=self.delays[model]))
        return await super().handle(call)


def prompts(endpoint: FakeEndpoint) -> list[str]:
    return [str((request.body or {})["messages"][0]["content"]) for request in endpoint.attempts]


def within_limit(limit: float, burst: float, sent_at: Sequence[float]) -> bool:
    """Return whether every window saw at most ``limit`` per second plus ``burst`` seconds' worth."""
    most = max(limit * burst, 1.0)
    return all(
        len(sent_at) - begin - rest <= most + limit * (until - since) + 1e-6
        for begin, since in enumerate(sent_at)
        for rest, until in enumerate(reversed(sent_at[begin:]))
    )


@pytest.mark.trio
async def test_a_waiting_call_does_not_block_another_model(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client([Pace(limits={MODEL: {"requests_per_minute": 1}})], max_in_flight=1) as client,
        trio.open_nursery() as nursery,
    ):
        await client.chat("first")
        nursery.start_soon(client.chat, "a minute later")
        await trio.testing.wait_all_tasks_blocked()
        assert client.in_flight == 0
        await client.chat("another model", model="another")
        assert trio.current_time() == 0.0
    assert endpoint.times == [0.0, 0.0, 60.0]


@pytest.mark.anyio
async def test_a_waiting_call_does_not_block_another_model_in_real_time() -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client([Pace(limits={MODEL: {"requests_per_minute": 200}})], max_in_flight=1) as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(4):
            await client.chat("four at once")
        group.start_soon(client.chat, "later")
        await anyio.wait_all_tasks_blocked()
        await client.chat("another model", model="another")
    assert prompts(endpoint)[-2:] == ["another model", "later"]


@pytest.mark.trio
async def test_a_pause_delays_neither_another_model_nor_urgent_calls_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint(EXHAUSTED)
    async with endpoint.client([Pace()], max_in_flight=2) as client, trio.open_nursery() as nursery:
        with pytest.raises(headrace.RateLimited):
            await client.chat("refused")
        nursery.start_soon(client.map(["bulk"] * 20).each, lambda outcome: None)
        await trio.sleep(1.0)
        await client.chat("another model", model="another")
        await client.chat("urgent, of another model", model="another", priority=5)
        assert trio.current_time() == 1.0
        await client.chat("urgent", priority=5)
        assert trio.current_time() == 60.0, "when the pause is over, before calls that have waited longer"
    assert prompts(endpoint)[:4] == ["refused", "another model", "urgent, of another model", "urgent"]


def test_an_urgent_call_goes_before_ten_thousand_waiters() -> None:
    endpoint = FakeEndpoint()

    async def main() -> None:
        pace = Pace(requests_per_minute=60)
        async with (
            endpoint.client([pace], max_in_flight=10_000) as client,
            client.map(["bulk"] * 20_000, buffer=0),
        ):
            await trio.testing.wait_all_tasks_blocked()
            assert pace.state(HOST, MODEL).waiting >= 10_000, "other calls may begin while these wait"
            assert client.in_flight == 0
            await trio.sleep(3.5)
            await client.chat("urgent")
            assert trio.current_time() == 4.0
        assert pace.state(HOST, MODEL).waiting == client.limiter.statistics().tasks_waiting == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert prompts(endpoint)[-1] == "urgent"


@pytest.mark.trio
@pytest.mark.parametrize("per_minute", [60, 600])
async def test_turns_booked_while_tokens_are_scarce_do_not_go_all_at_once(
    autojump_clock: trio.testing.MockClock, per_minute: int
) -> None:
    delays = {f"slow-{number}": 100.0 + number / 1000 for number in range(20)}
    endpoint, pace = SlowModels(delays=delays), Pace(limits={MODEL: {"requests_per_minute": per_minute}})
    async with (
        endpoint.client([pace], max_in_flight=20, timeout=300) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(client.chat, str(number))
            await trio.testing.wait_all_tasks_blocked()
        for model in delays:
            nursery.start_soon(functools.partial(client.chat, "takes all tokens", model=model))
        await trio.sleep(50.0)
        waiting = pace.state(HOST, MODEL).waiting
        assert len(endpoint.sent_at[MODEL]) == per_minute / 60
        assert waiting < 99, "some calls have booked"
    sent_at = endpoint.sent_at[MODEL]
    assert within_limit(per_minute / 60, 1.0, sent_at)
    # Booked calls wait no longer than the limit requires, now that tokens are free.
    late = [moment for moment in sent_at if moment >= 100.0]
    assert late[-1] - late[0] == pytest.approx(
        (len(late) - max(1.0, per_minute / 60)) * 60 / per_minute, abs=1.01
    )
    of_model = [text for text in prompts(endpoint) if text != "takes all tokens"]
    assert of_model == sorted(of_model, key=int), "in order of arrival"


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(3))
async def test_a_limit_is_used_and_kept_while_tokens_are_scarce(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    """Calls of another model want all tokens, and a booked call waits about 9 s for its own."""
    rng = random.Random(seed)

    class Uneven(SlowModels):
        async def handle(self, call: headrace.Call) -> headrace.Reply:
            self.delays["other"] = rng.uniform(0.5, 1.5)
            return await super().handle(call)

    endpoint, pace = Uneven(), Pace(limits={MODEL: {"requests_per_minute": 300}})
    async with endpoint.client([pace], max_in_flight=10) as client, trio.open_nursery() as nursery:

        async def call(model: str) -> None:
            while True:
                await client.chat("?", model=model)

        for _ in range(100):
            nursery.start_soon(call, "other")
        for _ in range(150):
            nursery.start_soon(call, MODEL)
        await trio.sleep(SECONDS)
        nursery.cancel_scope.cancel()
    sent_at = endpoint.sent_at[MODEL]
    assert within_limit(5.0, 1.0, sent_at)
    assert len(sent_at) >= 0.8 * 5.0 * SECONDS
    assert client.in_flight == client.limiter.statistics().tasks_waiting == 0


@pytest.mark.trio
async def test_waiters_of_one_model_do_not_slow_down_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Ten tokens, and a model whose calls wait 20 s each: the other model gets all tokens."""
    endpoint, pace = SlowModels(delays={"healthy": 1.0}), Pace(limits={MODEL: {"requests_per_minute": 3}})
    async with endpoint.client([pace], max_in_flight=10) as client, trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(client.chat, "sleeps")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        async with client.map([{"messages": [], "model": "healthy"}] * 100) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
        assert trio.current_time() - began == 10.0, "100 calls of 1 s, ten at a time"
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_no_other_call_goes_while_a_probe_waits_for_its_tokens(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint, pace = SlowModels(delays={"slow": 100.0}), Pace()
    endpoint.then(EXHAUSTED)
    async with (
        endpoint.client([pace], max_in_flight=1, timeout=300) as client,
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(headrace.RateLimited):
            await client.chat("refused")
        for number in range(3):
            nursery.start_soon(client.chat, str(number))
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(functools.partial(client.chat, "takes the token", model="slow"))
        await trio.sleep(90.0)
        assert pace.state(HOST, MODEL).waiting == 2
    assert prompts(endpoint)[2:] == ["0", "1", "2"]
    assert endpoint.times[2] == 100.0


@pytest.mark.trio
async def test_a_booked_call_cancelled_while_waiting_for_tokens_leaves_its_turn_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint, pace = SlowModels(delays={"slow": 100.0}), Pace()
    endpoint.then(EXHAUSTED)
    async with (
        endpoint.client([pace], max_in_flight=1, timeout=300) as client,
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(headrace.RateLimited):
            await client.chat("refused")
        with trio.move_on_after(80.0):
            async with trio.open_nursery() as impatient:
                impatient.start_soon(client.chat, "gives up")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(client.chat, "goes")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(functools.partial(client.chat, "takes the token", model="slow"))
    assert prompts(endpoint) == ["refused", "takes the token", "goes"]
    assert endpoint.times == [0.0, 0.0, 100.0]


@pytest.mark.trio
async def test_a_call_that_loses_its_turn_fails_at_once_if_no_other_comes_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After a booked turn is lost because tokens came too late, no turn is left before the deadline."""
    endpoint = SlowModels(delays={"slow": 12.0})
    pace = Pace(limits={MODEL: {"requests_per_minute": 6}})
    async with (
        endpoint.client([pace], max_in_flight=1, timeout=300) as client,
        trio.open_nursery() as nursery,
    ):
        await client.chat("first")

        async def too_late() -> None:
            with pytest.raises(headrace.DeadlineExceeded, match="at the earliest"):
                await client.chat("second", deadline=25.0)
            failed_at.append(trio.current_time())

        failed_at: list[float] = []
        nursery.start_soon(too_late)
        await trio.testing.wait_all_tasks_blocked()
        # It books at 10 s and waits for a token until 21.5 s, when a call of higher priority has just gone.
        await trio.sleep(9.5)
        nursery.start_soon(functools.partial(client.chat, "slow", model="slow"))
        await trio.sleep(1.0)
        nursery.start_soon(functools.partial(client.chat, "passes", priority=1))
    assert failed_at == [21.5]


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(20))
async def test_calls_cancelled_at_random_release_everything(seed: int) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    rng = random.Random(seed)

    @attrs.define
    class UnreliableEndpoint(FakeEndpoint):
        def __attrs_pre_init__(self) -> None:
            super().__init__()

        async def handle(self, call: headrace.Call) -> headrace.Reply:
            headers = {"retry-after-ms": str(rng.randrange(1, 8))}
            if rng.random() < 0.3:
                headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5ms"}
            refused = Answer(status=rng.choice([429, 503]), headers=headers)
            is_refused = ended < 100 and rng.random() < 0.3
            self.then(refused if is_refused else Answer(delay=rng.uniform(0.0, 0.004)))
            return await super().handle(call)

    pace = Pace(requests_per_minute=60_000, tokens_per_minute=6_000_000, burst=0.01)
    policies: list[headrace.Policy] = [pace, Retry(attempts=4, base=0.002, budget=None, rng=rng)]
    ended = 0
    async with UnreliableEndpoint().client(policies, max_in_flight=3) as client:

        async def call(patience: float, priority: int) -> None:
            nonlocal ended
            with anyio.move_on_after(patience):
                with contextlib.suppress(headrace.CallError):
                    await client.chat("?", max_tokens=rng.randrange(200), priority=priority)
            ended += 1

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(call, rng.uniform(0, 0.08), rng.randrange(3))
                    if rng.random() < 0.3:
                        await anyio.lowlevel.checkpoint()
        assert ended == 100
        assert client.in_flight == client.limiter.statistics().tasks_waiting == 0
        with anyio.fail_after(5):
            await client.chat("?", max_tokens=1)
        limiter = pace._limiters[HOST, MODEL]
        assert (len(limiter.queue), limiter.pending) == (0, 0)
    await anyio.sleep(0.05)
    now = anyio.current_time()
    for _, bucket in limiter._buckets:
        assert bucket.available(now) == bucket.level(now) == bucket.capacity


@pytest.mark.trio
async def test_reset_forgets_the_state(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(requests_per_minute=60)
    async with FakeEndpoint().client([pace]) as client:
        await client.chat("?")
        assert pace.state(HOST, MODEL).requests == 0
    pace.reset()
    assert pace.state(HOST, MODEL).requests == 1


def test_a_policy_can_be_used_in_one_event_loop_after_another() -> None:
    pace, endpoint = Pace(requests_per_minute=60), FakeEndpoint()

    async def main() -> list[Any]:
        async with endpoint.client([pace]) as client:
            with anyio.fail_after(5):
                return [await client.chat("?")]

    for _ in range(2):
        trio.run(main)
        anyio.run(main)
    assert len(endpoint.attempts) == 4
