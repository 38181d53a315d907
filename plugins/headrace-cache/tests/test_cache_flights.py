"""Identical calls at once: one is made, whatever becomes of it, and nobody waits for ever."""

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


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(path=str(tmp_path / "answers.sqlite"))


async def test_a_hundred_at_once_make_one_call(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer("Guten Tag", delay=0.05))
    async with endpoint.client([cache]) as client, client.map(["Hallo"] * 100) as outcomes:
        replies = [outcome.unwrap() async for outcome in outcomes]
    assert len(endpoint.attempts) == 1
    assert {reply.text for reply in replies} == {"Guten Tag"}
    assert sorted(reply.attempts for reply in replies) == [0] * 99 + [1]
    assert len({id(reply) for reply in replies}) == 100, "each has a reply of its own"


async def test_those_that_wait_need_no_file(tmp_path: Path) -> None:
    mebibyte = 1024 * 1024
    cache = Cache(path=str(tmp_path / "answers.sqlite"), max_bytes=mebibyte)
    endpoint = FakeEndpoint(otherwise=Answer("x" * (mebibyte // 16), delay=0.01))  # too long to be kept
    async with endpoint.client([cache]) as client, client.map(["Hallo"] * 10) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    assert len(endpoint.attempts) == 1


async def test_where_it_fails_the_next_is_made_and_each_has_its_own_error(cache: Cache) -> None:
    endpoint = FakeEndpoint(
        Answer(status=500, delay=0.01), Answer(status=400, delay=0.01), Answer(delay=0.01)
    )
    async with endpoint.client([cache]) as client, client.map(["Hallo"] * 10) as outcomes:
        seen = [outcome async for outcome in outcomes]
    assert len(endpoint.attempts) == 3
    assert endpoint.most_in_flight == 1
    assert sorted(str(outcome.error)[:60] for outcome in seen if outcome.error) == [
        "injected 400 (POST /chat/completions: status 400; the endpoi",
        "injected 500 (POST /chat/completions: status 500; the endpoi",
    ]
    assert sum(outcome.ok for outcome in seen) == 8


async def test_where_it_is_cancelled_the_next_is_made(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer(delay=3600), Answer("Guten Tag", delay=0.01))
    answered = []

    async with endpoint.client([cache]) as client, anyio.create_task_group() as group:

        async def call() -> None:
            answered.append((await client.chat("Hallo")).text)

        first = anyio.CancelScope()

        async def abandoned() -> None:
            with first:
                await client.chat("Hallo")

        group.start_soon(abandoned)
        while not endpoint.in_flight:
            await anyio.lowlevel.checkpoint()
        for _ in range(5):
            group.start_soon(call)
        while client.in_flight < 6:
            await anyio.lowlevel.checkpoint()
        first.cancel()
    assert answered == ["Guten Tag"] * 5
    assert len(endpoint.attempts) == 2


async def test_one_that_waits_is_cancelled_alone(cache: Cache) -> None:
    endpoint = FakeEndpoint(Answer("Guten Tag", delay=0.1))
    async with endpoint.client([cache]) as client, anyio.create_task_group() as group:
        group.start_soon(client.chat, "Hallo")
        while not endpoint.in_flight:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(headrace.DeadlineExceeded):
            await client.chat("Hallo", deadline=0.02)
        assert (await client.chat("Hallo")).attempts == 0
    assert len(endpoint.attempts) == 1


class Moody(FakeEndpoint):
    """An endpoint that answers by chance, until it has calmed down."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.calm = False
        self.failed = 0

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        if not self.calm:
            status = self.rng.choice([200, 200, 400, 500])
            self.then(Answer(status=status, delay=self.rng.choice([0, 0.001, 0.004])))
        reply = await super().handle(call)
        self.failed += reply.status >= 400
        return reply


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_fails_and_whoever_goes_each_ends_with_an_answer_or_its_own_error(
    cache: Cache, seed: int
) -> None:
    """Random delays, failures, cancellations and deadlines, over a few questions asked many times."""
    rng = random.Random(seed)
    endpoint = Moody(rng)
    ended: list[str] = []

    async with endpoint.client([cache]) as client:

        async def call(question: str, begin: float, patience: float | None, deadline: float | None) -> None:
            await anyio.sleep(begin)
            with anyio.move_on_after(patience) as scope:
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
        assert ended.count("failed") == endpoint.failed, "each failure is told to one call, and to no other"
        endpoint.calm = True
        for question in "abcd":
            await client.chat(question)
            assert (await client.chat(question)).attempts == 0
