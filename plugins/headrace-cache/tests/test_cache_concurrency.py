"""Identical concurrent calls: one is made, and every waiting call ends with any result of it."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_cache import Cache

pytestmark = pytest.mark.anyio

HALF = {"choices": [{"message": {"role": "assistant", "content": "ha"}, "finish_reason": "network_error"}]}
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hallo"}]}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(path=str(tmp_path / "answers.sqlite"))


async def test_a_hundred_identical_calls_make_one_request(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer("Guten Tag", delay=0.05))
    async with endpoint.client([cache]) as client, client.map(["Hallo"] * 100) as outcomes:
        replies = [outcome.unwrap() async for outcome in outcomes]
    assert len(endpoint.attempts) == 1
    assert {reply.text for reply in replies} == {"Guten Tag"}
    assert sorted(reply.attempts for reply in replies) == [0] * 99 + [1]
    assert len({id(reply) for reply in replies}) == 100, "each has its own reply"


async def test_waiters_get_an_answer_that_is_not_stored(tmp_path: Path) -> None:
    mebibyte = 1024 * 1024
    cache = Cache(path=str(tmp_path / "answers.sqlite"), max_bytes=mebibyte)
    endpoint = FakeEndpoint(otherwise=Answer("x" * (mebibyte // 16), delay=0.01))  # too large to be stored
    async with endpoint.client([cache]) as client, client.map(["Hallo"] * 10) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    assert len(endpoint.attempts) == 1


@pytest.mark.parametrize(
    "failure",
    [
        Answer(status=500, delay=0.01),
        Answer(status=401, delay=0.01),
        Answer(status=400, delay=0.01),
        Answer(status=429, delay=0.01),
        Answer(delay=3600),
    ],
    ids=["500", "401", "400", "429", "timeout"],
)
async def test_waiters_fail_with_the_error_of_the_call(cache: Cache, failure: Answer) -> None:
    endpoint = FakeEndpoint(failure)
    async with endpoint.client([cache], timeout=0.05) as client:
        requests = [headrace.Request(BODY, id=str(number)) for number in range(100)]
        async with client.map(requests) as outcomes:
            seen = [outcome async for outcome in outcomes]
        assert len(endpoint.attempts) == 1
        errors = [outcome.error for outcome in seen]
        assert len({type(error) for error in errors}) == 1
        assert len({id(error) for error in errors}) == 100, "each has its own error"
        call_errors = [error for error in errors if isinstance(error, headrace.CallError)]
        assert sorted(int(error.request.id or -1) for error in call_errors if error.request) == list(
            range(100)
        )
        assert sorted(error.attempts for error in call_errors) == [0] * 99 + [1]


async def test_waiters_share_the_retries_of_one_call(cache: Cache) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = FakeEndpoint(otherwise=headrace.ConnectError("refused"))
    retry = Retry(attempts=4, base=0.001, jitter="none")
    async with endpoint.client([cache, retry]) as client, client.map(["Hallo"] * 100) as outcomes:
        assert [type(outcome.error) async for outcome in outcomes] == [headrace.ConnectError] * 100
    assert len(endpoint.attempts) == 4


async def test_error_of_a_waiter_has_no_cost(cache: Cache) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    endpoint = FakeEndpoint(Answer(body=b'{"choices":[]}', delay=0.01))
    async with endpoint.client([Cost(), cache]) as client, client.map(["Hallo"] * 10) as outcomes:
        errors = [outcome.error async for outcome in outcomes]
    paid = [error for error in errors if isinstance(error, headrace.CallError) and error.possible_cost]
    assert len(paid) <= 1


async def test_call_after_a_failure_is_made(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer(status=500, delay=0.01), "Guten Tag")
    async with endpoint.client([cache]) as client:
        async with client.map(["Hallo"] * 10) as outcomes:
            assert not any([outcome.ok async for outcome in outcomes])
        assert (await client.chat("Hallo")).text == "Guten Tag"


async def test_waiters_of_an_uncacheable_answer_are_made_at_once(cache: Cache) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body=HALF, delay=0.02))
    async with endpoint.client([cache]) as client, client.map(["Hallo"] * 50) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    assert len(endpoint.attempts) == 50
    assert endpoint.most_in_flight == 49


async def test_next_call_is_made_after_a_deadline(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer(delay=3600), "Guten Tag")
    async with endpoint.client([cache]) as client, anyio.create_task_group() as group:
        ended = []

        async def call_with_deadline() -> None:
            with pytest.raises(headrace.DeadlineExceeded):
                await client.chat("Hallo", deadline=0.05)
            ended.append("late")

        group.start_soon(call_with_deadline)
        while not endpoint.in_flight:
            await anyio.lowlevel.checkpoint()
        assert (await client.chat("Hallo")).text == "Guten Tag"
    assert ended == ["late"]


async def test_next_call_is_made_after_a_cancellation(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer(delay=3600), Answer("Guten Tag", delay=0.01))
    answered = []

    async with endpoint.client([cache]) as client, anyio.create_task_group() as group:

        async def call() -> None:
            answered.append((await client.chat("Hallo")).text)

        first = anyio.CancelScope()

        async def cancelled_call() -> None:
            with first:
                await client.chat("Hallo")

        group.start_soon(cancelled_call)
        while not endpoint.in_flight:
            await anyio.lowlevel.checkpoint()
        for _ in range(5):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
    assert answered == ["Guten Tag"] * 5
    assert len(endpoint.attempts) == 2


async def test_cancelled_waiter_does_not_affect_others(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer("Guten Tag", delay=0.1))
    async with endpoint.client([cache]) as client, anyio.create_task_group() as group:
        group.start_soon(client.chat, "Hallo")
        while not endpoint.in_flight:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(headrace.DeadlineExceeded):
            await client.chat("Hallo", deadline=0.02)
        assert (await client.chat("Hallo")).attempts == 0
    assert len(endpoint.attempts) == 1


class RandomEndpoint(FakeEndpoint):
    """An endpoint that fails at random until it is set to ``reliable``."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.reliable = False
        self.failed = 0

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        if not self.reliable:
            status = self.rng.choice([200, 200, 400, 500])
            self.then(Answer(status=status, delay=self.rng.choice([0, 0.001, 0.004])))
        reply = await super().handle(call)
        self.failed += reply.status >= 400
        return reply


@pytest.mark.parametrize("seed", range(40))
async def test_every_call_ends_with_an_answer_or_its_own_error(cache: Cache, seed: int) -> None:
    """Random delays, failures, cancellations and deadlines, for a few questions asked many times."""
    rng = random.Random(seed)
    endpoint = RandomEndpoint(rng)
    ended: list[str] = []

    async with endpoint.client([cache]) as client:

        async def call(
            question: str, delay: float, cancel_after: float | None, deadline: float | None
        ) -> None:
            await anyio.sleep(delay)
            with anyio.move_on_after(cancel_after) as scope:
                try:
                    assert (await client.chat(question, deadline=deadline)).text == "ok"
                    ended.append("answered")
                except headrace.StatusError:
                    ended.append("failed")
                except headrace.DeadlineExceeded:
                    ended.append("late")
            if scope.cancelled_caught:
                ended.append("cancelled")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(80):
                    group.start_soon(
                        call,
                        rng.choice("abcd"),
                        rng.uniform(0, 0.02),
                        rng.choice([None, None, rng.uniform(0, 0.01)]),
                        rng.choice([None, None, rng.uniform(0.0001, 0.01)]),
                    )
        assert len(ended) == 80
        assert (client.in_flight, endpoint.in_flight) == (0, 0)
        assert ended.count("failed") >= endpoint.failed, "each failure reaches all calls that waited for it"
        endpoint.reliable = True
        for question in "abcd":
            await client.chat(question)
            assert (await client.chat(question)).attempts == 0
