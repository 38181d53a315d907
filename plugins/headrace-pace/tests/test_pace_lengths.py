"""Tokens per minute when calls set no limit to their answers, in virtual time."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable

import anyio
import pytest
import trio

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.fake import Step
from headrace_pace import Pace

LIMIT, PROMPT, TYPICAL = 120_000, 200, 100
SECONDS, GROWTH_AT = 300.0, 150.0


class VariableLengthEndpoint(FakeEndpoint):
    """Answers after ``latency`` seconds with ``length(now)`` tokens."""

    def __init__(self, latency: float, length: Callable[[float], int]) -> None:
        super().__init__()
        self.used: list[tuple[float, int]] = []
        self._latency, self._length = latency, length

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        now = anyio.current_time()
        completion = self._length(now)
        prompt = len(call.content) // 4
        self.used.append((now, prompt + completion))
        self.then(Answer(delay=self._latency, prompt_tokens=prompt, completion_tokens=completion))
        return await super().handle(call)

    def most_in_a_minute(self) -> int:
        """Return the tokens of the busiest minute."""
        most = total = begin = 0
        for now, tokens in self.used:
            total += tokens
            while self.used[begin][0] <= now - 60:
                total -= self.used[begin][1]
                begin += 1
            most = max(most, total)
        return most


async def load(endpoint: VariableLengthEndpoint) -> None:
    async with endpoint.client([Pace(tokens_per_minute=LIMIT)], max_in_flight=300) as client:
        with trio.move_on_after(SECONDS):
            await client.map(itertools.repeat("x" * 4 * PROMPT)).each(lambda outcome: None)


@pytest.mark.trio
@pytest.mark.parametrize(("times", "latency"), [(4, 0.5), (4, 1.5), (10, 0.3), (10, 0.5)])
async def test_suddenly_longer_answers_use_little_more_than_the_limit(
    autojump_clock: trio.testing.MockClock, times: int, latency: float
) -> None:
    endpoint = VariableLengthEndpoint(latency, lambda now: TYPICAL if now < GROWTH_AT else TYPICAL * times)
    await load(endpoint)
    assert endpoint.most_in_a_minute() <= 1.1 * LIMIT
    assert sum(tokens for _, tokens in endpoint.used) >= 0.93 * LIMIT * SECONDS / 60


@pytest.mark.trio
@pytest.mark.parametrize("latency", [1.0, 5.0])
async def test_unused_tokens_of_short_answers_are_returned(
    autojump_clock: trio.testing.MockClock, latency: float
) -> None:
    rng = random.Random(3)
    endpoint = VariableLengthEndpoint(latency, lambda now: round(TYPICAL * rng.lognormvariate(-0.3, 0.8)))
    await load(endpoint)
    # Before the first answer, each call reserves 500 tokens; unused ones are returned within a minute.
    assert endpoint.most_in_a_minute() <= 1.15 * LIMIT
    assert sum(tokens for _, tokens in endpoint.used) >= 0.9 * LIMIT * SECONDS / 60


WITHOUT_USAGE = Answer(body={"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]})
ENDS: dict[str, Step] = {
    "answered": "ok",
    "answered without usage": WITHOUT_USAGE,
    "no JSON": Answer(body=b"no JSON"),
    "400": 400,
    "429": 429,
    "503": 503,
    "timeout": headrace.CallTimeout("slow"),
    "connect error": headrace.ConnectError("gone"),
    "another error": RuntimeError("of a transport"),
    "cancelled": Answer(delay=5.0),
}


@pytest.mark.trio
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_that_has_ended_no_longer_counts_as_in_flight(
    autojump_clock: trio.testing.MockClock, end: Step, streamed: bool
) -> None:
    """When answers get longer, only the estimates of calls in flight are raised."""
    pace, endpoint = Pace(tokens_per_minute=6_000_000, burst=10), FakeEndpoint(*[end] * 5)

    def tokens() -> float:
        return pace.state("fake.test", "fake-model").tokens or 0

    async with endpoint.client([pace]) as client:
        for _ in range(5):
            with trio.move_on_after(1.0), contextlib.suppress(headrace.CallError, RuntimeError):
                if streamed:
                    async with client.stream("Hallo") as stream:
                        async for _ in stream:
                            break
                else:
                    await client.chat("Hallo")
        await trio.sleep(60)
        full = tokens()
        endpoint.then(*[Answer(prompt_tokens=0, completion_tokens=20_000)] * 3)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(client.chat, "Hallo")
        assert full - tokens() == pytest.approx(60_000)
