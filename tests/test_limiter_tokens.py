"""Tokens: attempts in flight, priorities, and what a waiting call releases."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import attrs
import pytest
import trio
from tests.checkpoints import turns_during

from headrace import (
    Call,
    CircuitOpen,
    Client,
    Headers,
    Policy,
    PriorityCapacityLimiter,
    Reply,
    Request,
    RequestError,
    Send,
    SettingsError,
    Stage,
    StatusError,
)
from headrace.testing import Answer, FakeEndpoint

pytestmark = pytest.mark.anyio


@attrs.frozen
class Waits:
    """Waits ``seconds`` in `Call.waiting` before each attempt of a call that says so, at its stage.

    Or until ``until`` is set.
    """

    seconds: float
    stage: Stage = Stage.PACE
    name: str = "waits"
    until: anyio.Event | None = None

    def wrap(self, send: Send) -> Send:
        async def wait(call: Call) -> Reply:
            if "wait" in prompt_of(call.request):
                async with call.waiting():
                    await (anyio.sleep(self.seconds) if self.until is None else self.until.wait())
            return await send(call)

        return wait


def prompt_of(request: Request) -> str:
    return str((request.body or {})["messages"][0]["content"])


def order(endpoint: FakeEndpoint) -> list[str]:
    return [prompt_of(request) for request in endpoint.attempts]


async def settle() -> None:
    await anyio.wait_all_tasks_blocked()


async def test_a_single_call_overtakes_a_map_on_the_same_client() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.05))
    async with (
        endpoint.client(max_in_flight=2) as client,
        client.map(["bulk"] * 20, max_in_flight=None) as one,
        client.map(["bulk"] * 20) as other,
        anyio.create_task_group() as group,
    ):
        await anyio.sleep(0.06)
        before = len(endpoint.attempts)
        await client.chat("at once, please")
        # Two of the calls in flight may have been followed by others at the same moment.
        prompts = [request.body and request.body["messages"][0]["content"] for request in endpoint.attempts]
        assert prompts.index("at once, please") <= before + 2
        group.cancel_scope.cancel()
        del one, other


async def test_a_priority_is_set_by_the_call_or_the_request() -> None:
    endpoint = FakeEndpoint(Answer(delay=0.3))  # long enough for all calls to arrive

    async def ask(client: Client, text: str, group: anyio.abc.TaskGroup, priority: int) -> None:
        group.start_soon(lambda: client.chat(text, priority=priority))
        await anyio.wait_all_tasks_blocked()

    body = {"messages": [{"role": "user", "content": "of a map"}]}
    async with endpoint.client(max_in_flight=1) as client, anyio.create_task_group() as group:
        await ask(client, "first", group, 0)
        await ask(client, "last", group, -5)
        await ask(client, "usual", group, 0)
        group.start_soon(client.map([Request(body, priority=3)]).each, lambda outcome: None)
        await anyio.wait_all_tasks_blocked()
        await ask(client, "urgent", group, 9)
    prompts = [request.body and request.body["messages"][0]["content"] for request in endpoint.attempts]
    assert prompts == ["first", "urgent", "of a map", "usual", "last"]


# The limiter of a client.


async def test_a_limiter_is_passed_or_made_and_its_total_may_change() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.002))
    limiter = PriorityCapacityLimiter(2)
    async with endpoint.client(limiter=limiter) as client:
        assert client.limiter is limiter
        done = 0
        async with client.map([str(number) for number in range(200)]) as outcomes:
            async for _ in outcomes:
                done += 1
                if done == 20:
                    assert endpoint.most_in_flight == 2
                    client.limiter.total_tokens = 10
                if done == 100:
                    assert endpoint.most_in_flight == 10
                    client.limiter.total_tokens = 3
                if done > 120:
                    assert client.in_flight <= 3
        assert done == 200
        assert client.in_flight == 0


async def test_an_anyio_limiter_serves_fifo() -> None:
    endpoint = FakeEndpoint(Answer(delay=0.1))
    async with (
        endpoint.client(limiter=anyio.CapacityLimiter(1)) as client,
        anyio.create_task_group() as group,
    ):
        for text, priority in [("first", 0), ("second", 0), ("urgent", 9)]:
            group.start_soon(functools.partial(client.chat, text, priority=priority))
            await settle()
    assert order(endpoint) == ["first", "second", "urgent"]


async def test_a_map_follows_an_anyio_limiter() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.002))
    async with endpoint.client(limiter=anyio.CapacityLimiter(2)) as client:
        done = 0
        async with client.map(["?"] * 100) as outcomes:
            async for _ in outcomes:
                done += 1
                if done == 20:
                    assert endpoint.most_in_flight == 2
                    client.limiter.total_tokens = 8
        assert (done, endpoint.most_in_flight) == (100, 8)


async def test_clients_can_share_a_limiter() -> None:
    endpoint, limiter = FakeEndpoint(otherwise=Answer(delay=0.002)), PriorityCapacityLimiter(5)
    async with (
        endpoint.client(limiter=limiter) as one,
        endpoint.client(limiter=limiter) as other,
        one.map(["?"] * 50) as of_one,
        other.map(["?"] * 50) as of_other,
    ):
        assert len([outcome async for outcome in of_one if outcome.ok]) == 50
        assert len([outcome async for outcome in of_other if outcome.ok]) == 50
    assert endpoint.most_in_flight == 5
    assert limiter.borrowed_tokens == 0


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"limiter": 5}, "PriorityCapacityLimiter"),
        ({"limiter": PriorityCapacityLimiter(5), "max_in_flight": 5}, "remove one of them"),
    ],
)
async def test_an_invalid_limiter_raises(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FakeEndpoint().client(**keywords)


async def test_a_map_with_an_unlimited_limiter_needs_its_own_limit() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with endpoint.client(limiter=PriorityCapacityLimiter(math.inf)) as client:
        with pytest.raises(SettingsError, match="max_in_flight="):
            client.map(["?"])
        async with client.map(["?"] * 20, max_in_flight=4) as outcomes:
            assert len([outcome async for outcome in outcomes]) == 20
    assert endpoint.most_in_flight == 4


async def test_a_stream_holds_a_token_until_it_or_its_block_ends() -> None:
    async with FakeEndpoint().client(max_in_flight=5) as client:
        async with client.stream("?") as stream:
            assert client.in_flight == 1
            async with client.stream("?") as other:  # one task may hold several tokens
                assert client.in_flight == 2
                async for _ in other:
                    pass
                assert client.in_flight == 1, "the body has ended"
            assert not stream._ended
        assert client.in_flight == 0, "the block was left early"


async def test_time_in_the_queue_is_not_elapsed_time() -> None:
    async with FakeEndpoint(otherwise=Answer(delay=0.05)).client(max_in_flight=1) as client:
        replies = list[Reply]()

        async def ask() -> None:
            replies.append(await client.chat("?"))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
        first, second, third = sorted(replies, key=lambda reply: reply.queued)
        assert first.queued == 0
        assert second.queued > 0.04
        assert third.queued > 0.09
        assert all(0.04 < reply.elapsed < reply.queued + 0.09 for reply in replies)
        assert third.elapsed < third.queued


# Waiting calls.


@pytest.mark.parametrize("stage", [Stage.OBSERVE, Stage.PERSIST, Stage.PROTECT, Stage.PACE])
async def test_a_waiting_call_lets_another_one_go(stage: Stage) -> None:
    endpoint, wait_is_over = FakeEndpoint(), anyio.Event()
    async with (
        endpoint.client([Waits(0, stage, until=wait_is_over)], max_in_flight=1) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.chat, "wait")
        await settle()
        assert client.in_flight == 0
        await client.chat("passes")
        wait_is_over.set()
    assert order(endpoint) == ["passes", "wait"]


async def test_tokens_are_taken_again_by_priority_at_the_end_of_the_block() -> None:
    endpoint, wait_is_over = FakeEndpoint(Answer(delay=0.5)), anyio.Event()
    async with (
        endpoint.client([Waits(0, until=wait_is_over)], max_in_flight=1) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: client.chat("wait", priority=1))
        await settle()
        for text in ("first", "second"):
            group.start_soon(client.chat, text)
            await settle()
        wait_is_over.set()
    assert order(endpoint) == ["first", "wait", "second"]
    assert endpoint.most_in_flight == 1


async def test_a_map_makes_other_calls_while_some_wait_up_to_four_times_as_many() -> None:
    items = [*["at once"] * 20, *["wait"] * 100]
    async with (
        FakeEndpoint().client([Waits(60.0)], max_in_flight=3) as client,
        client.map(items) as outcomes,
    ):
        for _ in range(20):
            assert (await anext(outcomes)).ok
        await settle()
        assert "32 read, 12 calls held, 12 of them waiting" in repr(outcomes)


async def test_without_a_success_a_map_begins_few_calls_for_waiting_ones() -> None:
    async with (
        FakeEndpoint().client([Waits(60.0)], max_in_flight=10) as client,
        client.map(["wait"] * 100) as outcomes,
    ):
        await settle()
        assert "13 read, 13 calls held, 13 of them waiting" in repr(outcomes)


async def test_a_cancelled_wait_does_not_exceed_the_limit() -> None:
    """The policy puts a time limit around the block instead of inside it: the attempt takes tokens first."""

    @attrs.frozen
    class Impatient:
        name: str = "impatient"
        stage: Stage = Stage.PACE

        def wrap(self, send: Send) -> Send:
            async def wait(call: Call) -> Reply:
                with anyio.move_on_after(0.01):
                    async with call.waiting():
                        await anyio.sleep(60)
                return await send(call)

            return wait

    endpoint = FakeEndpoint(otherwise=Answer(delay=0.005))
    async with (
        endpoint.client([Impatient()], max_in_flight=2) as client,
        client.map(["?"] * 20) as outcomes,
    ):
        assert len([outcome async for outcome in outcomes if outcome.ok]) == 20
        assert client.in_flight == 0
    assert endpoint.most_in_flight == 2


@attrs.frozen
class Limits:
    """A policy with its own limiter, as an application may have one per tenant."""

    limiter: PriorityCapacityLimiter
    name: str = "limits"
    stage: Stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        async def limit(call: Call) -> Reply:
            await call.acquire(self.limiter)
            try:
                return await send(call)
            finally:
                call.release(self.limiter)

        return limit


async def test_a_call_that_waits_for_a_policys_limiter_holds_no_token_of_the_client() -> None:
    endpoint, limiter = FakeEndpoint(Answer(delay=0.5)), PriorityCapacityLimiter(1)
    async with (
        endpoint.client([Limits(limiter)], max_in_flight=10) as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(5):
            group.start_soon(client.chat, "?")
        await settle()
        assert (limiter.borrowed_tokens, limiter.statistics().tasks_waiting) == (1, 4)
        assert client.in_flight == 1
    assert endpoint.most_in_flight == 1
    assert limiter.borrowed_tokens == client.in_flight == 0


async def test_a_failed_attempt_releases_its_tokens() -> None:
    limiter = PriorityCapacityLimiter(1)
    async with FakeEndpoint(otherwise=500).client([Limits(limiter)], max_in_flight=1) as client:
        for _ in range(3):
            with pytest.raises(StatusError):
                await client.chat("?")
    assert limiter.borrowed_tokens == client.in_flight == 0


def test_calls_that_wait_inside_and_for_a_policys_limiter_do_not_deadlock() -> None:
    """Both take their tokens in the same order, so neither holds what the other waits for."""
    limiter = PriorityCapacityLimiter(1)
    policies: list[Policy] = [Limits(limiter), Waits(1.0)]  # "limits" is outside "waits"
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.1))

    async def main() -> None:
        with trio.fail_after(3600):
            async with endpoint.client(policies, max_in_flight=2) as client, trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(client.chat, "wait")
                await trio.sleep(0.95)  # these two take their tokens again while the others run
                for _ in range(2):
                    nursery.start_soon(client.chat, "at once")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(endpoint.attempts) == 4
    assert limiter.borrowed_tokens == 0


async def test_an_outer_policy_may_reject_an_attempt_after_its_wait() -> None:
    @attrs.define
    class Refuses:
        name: str = "refuses"
        stage: Stage = Stage.PROTECT
        checks: int = 0

        def wrap(self, send: Send) -> Send:
            async def refuse(call: Call) -> Reply:
                call.on_resume = (self.look,)
                try:
                    return await send(call)
                finally:
                    call.on_resume = ()

            return refuse

        def look(self, call: Call) -> None:
            self.checks += 1
            assert not call.is_waiting
            raise StatusError("no more", 503)

    refuses, endpoint = Refuses(), FakeEndpoint()
    async with endpoint.client([refuses, Waits(0.01)], max_in_flight=1) as client:
        with pytest.raises(StatusError, match="no more"):
            await client.chat("wait")
        assert (await client.chat("at once")).text == "ok"
        assert client.in_flight == 0
    assert (refuses.checks, len(endpoint.attempts)) == (1, 1)


def test_a_priority_call_overtakes_ten_thousand_waiting_calls_of_a_map() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=1.0))

    async def main() -> None:
        async with endpoint.client(max_in_flight=10) as client, trio.open_nursery() as nursery:
            for _ in range(10_000):
                nursery.start_soon(client.chat, "?")
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await client.chat("urgent", priority=1)
            assert trio.current_time() - began == 2.0, "the next token, and an answer"
            nursery.cancel_scope.cancel()
        assert client.limiter.statistics().tasks_waiting == client.in_flight == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Checkpoints.


@attrs.frozen
class Answers:
    """A policy that answers or rejects calls itself."""

    result: Reply | Exception
    name: str = "answers"
    stage: Stage = Stage.ANSWER

    def wrap(self, send: Send) -> Send:
        async def answer(call: Call) -> Reply:
            if isinstance(self.result, Exception):
                raise self.result
            return self.result

        return answer


@pytest.mark.parametrize("result", [CircuitOpen("open", 1.0), Reply(200, Headers([]), b"{}")])
async def test_a_call_answered_by_a_policy_is_a_checkpoint(result: Any) -> None:
    async with FakeEndpoint().client([Answers(result)]) as client:

        async def ask(number: int = 1000) -> None:
            for _ in range(number):
                with contextlib.suppress(CircuitOpen):
                    await client.chat("?")

        assert await turns_during(ask) > 900
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ask(1)
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    "refused",
    [
        lambda client: client.chat(["not a message"]),
        lambda client: client.chat("?", temprature=1),
        lambda client: client.responses("?", temprature=1),
        lambda client: client.embed("not a list"),
        lambda client: client.request("GET", "no slash"),
        lambda client: client.send(Request({"model": 5})),
    ],
)
async def test_a_rejected_call_is_a_checkpoint(
    refused: Callable[[Client], Awaitable[object]],
) -> None:
    async with FakeEndpoint().client() as client:

        async def ask(number: int = 100) -> None:
            for _ in range(number):
                with contextlib.suppress(RequestError):
                    await refused(client)

        assert await turns_during(ask) > 90
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ask(1)
        assert scope.cancelled_caught


@pytest.mark.parametrize("ordered", [True, False])
async def test_each_rejected_item_of_a_map_is_a_checkpoint(ordered: bool) -> None:
    refused = [{"model": 5}] * 1000
    async with FakeEndpoint().client(max_in_flight=1) as client:

        async def each() -> None:
            await client.map(refused, ordered=ordered).each(lambda outcome: None)

        async def iterate() -> None:
            async with client.map(refused, ordered=ordered) as outcomes:
                async for _ in outcomes:
                    pass

        assert await turns_during(each) > 900
        assert await turns_during(iterate) > 900


async def test_iterating_over_ready_outcomes_gives_other_tasks_turns() -> None:
    async with FakeEndpoint().client(max_in_flight=200) as client, client.map(["?"] * 200) as outcomes:
        await settle()

        async def iterate() -> None:
            for _ in range(200):
                await anext(outcomes)

        assert await turns_during(iterate) >= 11
