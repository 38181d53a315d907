"""What befalls a breaker in a client, in virtual time: windows, slow calls, flapping, jumps of the clock."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import attrs
import pytest
import trio

import headrace
from headrace import Call, Endpoint, Policy, Reply, Send, Stage
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


@attrs.frozen
class Waits:
    """Waits for its turn in `Call.waiting`, as a policy that keeps to a rate does."""

    delay: Callable[[], float]
    name: str = "waits"
    stage: Stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        async def wait(call: Call) -> Reply:
            async with call.waiting():
                await anyio.sleep(self.delay())
            return await send(call)

        return wait


@pytest.mark.trio
async def test_time_in_which_an_attempt_waits_does_not_make_it_slow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    breaker = Breaker(slow_after=2.0, slow_rate=0.5, minimum_calls=4)
    endpoint = FakeEndpoint(otherwise=Answer(delay=1.0))
    waits = Waits(lambda: 30.0)
    client = endpoint.client([breaker, waits], max_in_flight=1)
    async with client, trio.open_nursery() as nursery:
        for _ in range(10):  # the last waits another nine seconds for the only token
            nursery.start_soon(call, client)
    assert len(endpoint.attempts) == 10
    assert breaker.state(URL) == "closed"
    slow = Breaker(slow_after=2.0, slow_rate=0.5, window_calls=4)
    async with FakeEndpoint(otherwise=Answer(delay=2.5)).client([slow, waits]) as client:
        for _ in range(4):
            await call(client)
    assert slow.state(URL) == "open"


@pytest.mark.trio
async def test_an_attempt_that_waited_while_the_circuit_opened_is_the_probe_when_one_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    delays = iter([30.0, 70.0, 80.0, 0.1, 0.2])
    endpoint = FakeEndpoint(503, 503, Answer(delay=20.0))
    policies: list[Policy] = [Breaker(consecutive=2, probes=1), Waits(lambda: next(delays))]
    said: list[tuple[float, str]] = []

    async def ask(client: headrace.Client) -> None:
        code = await call(client)
        said.append((round(trio.current_time(), 1), code))

    async with endpoint.client(policies) as client, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, client)
    # A probe after 70 s, which is under way until 90.
    assert said[2:] == [(30.0, "circuit_open"), (80.0, "circuit_open"), (90.0, "ok")]
    assert len(endpoint.attempts) == 3


# One policy in two event loops.


async def open_its_circuit(breaker: Breaker) -> None:
    assert breaker.state(URL) in {"closed", "open"}  # as it was left
    async with FakeEndpoint("ok", otherwise=500).client([breaker]) as client:
        assert await call(client) == "ok", "a circuit of the loop before would refuse this"
        assert breaker.state(URL) == "closed"
        for _ in range(5):
            await call(client)
        assert breaker.state(URL) == "open"


@pytest.mark.parametrize("first", ["trio", "asyncio"])
@pytest.mark.parametrize("second", ["trio", "asyncio"])
def test_after_its_loop_has_ended_a_policy_starts_anew_in_the_next(first: str, second: str) -> None:
    breaker = Breaker(failure_rate=None, consecutive=5)
    anyio.run(open_its_circuit, breaker, backend=first)
    anyio.run(open_its_circuit, breaker, backend=second)


@pytest.mark.parametrize("first", ["trio", "asyncio"])
@pytest.mark.parametrize("second", ["trio", "asyncio"])
def test_a_second_living_loop_is_refused(first: str, second: str) -> None:
    breaker = Breaker()
    is_open, refused = threading.Event(), threading.Event()
    endpoint = FakeEndpoint()

    async def hold() -> None:
        async with endpoint.client([breaker]) as client:
            await client.chat("?")
            is_open.set()
            await anyio.to_thread.run_sync(refused.wait, 10.0)
            assert await call(client) == "ok", "it goes on undisturbed"

    async def be_refused() -> None:
        with pytest.raises(
            headrace.ClientStateError, match="policy 'breaker' is in use in another event loop"
        ):
            async with FakeEndpoint().client([breaker]):
                pytest.fail("it opened")

    with concurrent.futures.ThreadPoolExecutor() as threads:
        holding = threads.submit(lambda: anyio.run(hold, backend=first))
        assert is_open.wait(10)
        try:
            anyio.run(be_refused, backend=second)
        finally:
            refused.set()
        holding.result()
    anyio.run(hold, backend=second)  # now that the first has ended
