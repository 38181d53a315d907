"""What befalls a breaker in a client, in virtual time: windows, slow calls, flapping, jumps of the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

import headrace
from headrace import Endpoint
from headrace.testing import Answer, FakeEndpoint
from headrace_breaker import Breaker

URL = "http://fake.test/v1"
STEPS: dict[str, str | int] = {"S": "ok", "F": 500}


async def call(client: headrace.Client) -> str:
    """Make a call; the code of its error, or "ok"."""
    try:
        return (await client.chat("Hallo")).text
    except headrace.CallError as error:
        return error.code


async def play(breaker: Breaker, results: str, every: float = 1.0) -> str:
    """The state after calls that succeed (S) and fail (F), so many seconds apart."""
    async with FakeEndpoint(*(STEPS[result] for result in results)).client([breaker]) as client:
        for _ in results:
            await call(client)
            await trio.sleep(every)
    return breaker.state(URL)


@pytest.mark.trio
@pytest.mark.parametrize("window", [{"window": 20}, {"window_calls": 20}])
@pytest.mark.parametrize(("results", "state"), [("SSSFF", "closed"), ("SSSFFF", "open"), ("FFFSS", "open")])
async def test_the_sequences_of_a_window(
    autojump_clock: trio.testing.MockClock, window: dict[str, Any], results: str, state: str
) -> None:
    assert await play(Breaker(minimum_calls=5, **window), results) == state


@pytest.mark.trio
async def test_a_window_of_time_forgets_and_one_of_calls_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await play(Breaker(minimum_calls=5, window=20, down_after=None), "FFFFF", every=6) == "closed"
    assert await play(Breaker(minimum_calls=5, window_calls=20, down_after=None), "FFFFF", every=6) == "open"


@pytest.mark.trio
@pytest.mark.parametrize(
    ("results", "every", "state"),
    [
        ("S" * 500 + "F" * 25, 0.1, "open"),  # 25 of 525, but for two seconds nothing else
        ("S" * 500 + "F" * 15, 0.1, "closed"),
        ("S" * 500 + "F" * 15 + "S" + "F" * 15, 0.1, "closed"),  # it does answer
        ("S" * 500 + "F" * 100, 0.01, "closed"),  # a second without an answer: a restart
    ],
)
async def test_an_endpoint_that_answers_nothing_is_down_however_well_it_was_before(
    autojump_clock: trio.testing.MockClock, results: str, every: float, state: str
) -> None:
    assert await play(Breaker(), results, every=every) == state


@pytest.mark.trio
async def test_a_fifth_probe_is_told_and_a_permit_given_back_lets_one_more_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    breaker = Breaker(minimum_calls=5, window=20, probes=4)
    await play(breaker, "FFFFF")
    endpoint = FakeEndpoint(otherwise=Answer(delay=10.0))
    async with endpoint.client([breaker]) as client, trio.open_nursery() as nursery:
        await trio.sleep(60)
        for _ in range(3):
            nursery.start_soon(call, client)
        with trio.move_on_after(1):
            await client.chat("the fourth")
        nursery.start_soon(call, client)
        await trio.sleep(1)
        assert len(endpoint.attempts) == 5
        with pytest.raises(headrace.CircuitOpen, match="its probes are under way") as caught:
            await client.chat("the fifth")
        assert caught.value.retry_after == 0.0
    assert len(endpoint.attempts) == 5
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
@pytest.mark.parametrize(
    "untelling",
    [
        headrace.DeadlineExceeded("the caller's own"),
        headrace.BudgetExceeded("of an inner policy"),
        ZeroDivisionError("a bug in an inner policy"),
    ],
)
async def test_a_probe_that_tells_nothing_gives_its_permit_back(
    autojump_clock: trio.testing.MockClock, untelling: Exception
) -> None:
    breaker = Breaker.classic()
    await play(breaker, "FFFFF")
    async with FakeEndpoint(untelling).client([breaker]) as client:
        await trio.sleep(60)
        await call(client)
        assert breaker.state(URL) == "half_open"
        assert await call(client) == "ok"
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
async def test_slow_answers_open_a_circuit_and_slow_probes_open_it_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    breaker = Breaker(minimum_calls=5, slow_after=10, slow_rate=0.5, open_for=60, probes=2)
    fast, slow = Answer(delay=9.0), Answer(delay=11.0)
    endpoint = FakeEndpoint(fast, fast, fast, slow, slow)
    async with endpoint.client([breaker]) as client:

        async def calls(*steps: Answer) -> str:
            endpoint.then(*steps)
            for _ in steps:
                assert await call(client) == "ok"
            return breaker.state(URL)

        for _ in range(5):
            assert await call(client) == "ok"
        assert breaker.state(URL) == "closed"
        assert await calls(slow) == "open"
        await trio.sleep(60)
        assert await calls(slow) == "open"
        await trio.sleep(60)
        assert await calls(fast, fast) == "closed"


@pytest.mark.trio
async def test_a_stream_is_slow_where_its_first_piece_is_and_not_where_its_reader_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    breaker = Breaker(failure_rate=None, minimum_calls=2, slow_after=10, slow_rate=1.0)
    endpoint = FakeEndpoint("one two", "one two", *[Answer("one two", delay=11.0)] * 2)

    async with endpoint.client([breaker]) as client:

        async def read(every: float) -> None:
            async with client.stream("Hallo") as stream:
                async for _ in stream:
                    await trio.sleep(every)

        for _ in range(2):
            await read(every=30.0)
        assert breaker.state(URL) == "closed"
        await trio.sleep(60)
        for _ in range(2):
            await read(every=0.0)
        assert breaker.state(URL) == "open"


@pytest.mark.trio
async def test_an_endpoint_that_flaps_is_left_alone_for_as_long_each_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # It is well for each probe and fails again, ten hours long; what was begun before comes late, and fails.
    breaker, late = Breaker(minimum_calls=5, probes=1), Answer(delay=90.0, status=500)
    endpoint = FakeEndpoint()
    async with endpoint.client([breaker]) as client, trio.open_nursery() as nursery:
        for _ in range(600):
            endpoint.then(late)
            nursery.start_soon(call, client)
            await trio.sleep(0.5)
            for _ in range(5):
                assert breaker.state(URL) == "closed"
                endpoint.then(500)
                assert await call(client) == "server_error"
            assert breaker.state(URL) == "open"
            await trio.sleep(59.5)
            assert await call(client) == "circuit_open"
            await trio.sleep(0.5)
            assert await call(client) == "ok"
    assert len(endpoint.attempts) == 600 * (1 + 5 + 1)


@pytest.mark.trio
@pytest.mark.parametrize("mine", [400, 401, 403, 404, 422, 429, Answer(delay=30)])
async def test_neither_the_callers_mistakes_nor_cancellations_open_it(
    autojump_clock: trio.testing.MockClock, mine: Any
) -> None:
    breaker = Breaker(minimum_calls=5, consecutive=5)
    async with FakeEndpoint(otherwise=mine).client([breaker]) as client:
        for _ in range(50):
            with anyio.move_on_after(1):
                await call(client)
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
async def test_a_jump_of_the_wall_clock_changes_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(jump: Callable[[float], None]) -> list[tuple[float, str]]:
        breaker, seen, start = (
            Breaker(minimum_calls=5, window=20),
            list[tuple[float, str]](),
            trio.current_time(),
        )
        async with FakeEndpoint(*[500] * 6).client([breaker]) as client:
            for number in range(130):
                jump(-1e9 if number % 2 else 1e9)
                seen.append((trio.current_time() - start, await call(client)))
                await trio.sleep(1.0)
        return seen

    sound = await story(lambda seconds: None)
    wall, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + wall[0])
    jumping = await story(lambda seconds: wall.__setitem__(0, seconds))
    assert jumping == sound
    assert [code for _, code in sound].count("circuit_open") == 2 * 59


@pytest.mark.anyio
async def test_the_state_by_an_endpoints_name_or_url() -> None:
    breaker = Breaker(failure_rate=None, consecutive=1)
    endpoints = [
        Endpoint("http://one.test/v1", name="cheap", models=["small"]),
        Endpoint("http://two.test/v1/", name="dear", models=["large"]),
        Endpoint("http://one.test/v1", name="other key", api_key="k", models=["medium"]),
    ]
    fake = FakeEndpoint("ok", 500, "ok")
    async with fake.client([breaker], base_url=None, endpoints=endpoints, model=None) as client:
        assert breaker.state("cheap") == breaker.state("nobody") == "closed"
        await client.chat("Hallo", model="small")
        await call_model(client, "large")
        assert breaker.state("cheap") == breaker.state("http://one.test/v1") == "closed"
        assert breaker.state("dear") == breaker.state("http://two.test/v1/") == "open"
        # One URL is one circuit, whatever it is called.
        fake.then(500)
        await client.chat("Hallo", model="medium")
        await call_model(client, "small")
        assert breaker.state("cheap") == breaker.state("other key") == "open"


async def call_model(client: headrace.Client, model: str) -> None:
    with pytest.raises(headrace.ServerError):
        await client.chat("Hallo", model=model)
