"""A breaker in a client, in virtual time: windows, slow calls, flapping, jumps of the clock."""

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
RESULTS: dict[str, str | int] = {"S": "ok", "F": 500}


async def call(client: headrace.Client) -> str:
    """Make a call and return the code of its error, or "ok"."""
    try:
        return (await client.chat("Hallo")).text
    except headrace.CallError as error:
        return error.code


async def play(breaker: Breaker, results: str, every: float = 1.0) -> str:
    """Make calls that succeed (S) or fail (F), ``every`` seconds; return the state after them."""
    async with FakeEndpoint(*(RESULTS[result] for result in results)).client([breaker]) as client:
        for _ in results:
            await call(client)
            await trio.sleep(every)
    return breaker.state(URL)


@pytest.mark.trio
@pytest.mark.parametrize("window", [{"window": 20}, {"window_calls": 20}])
@pytest.mark.parametrize(("results", "state"), [("SSSFF", "closed"), ("SSSFFF", "open"), ("FFFSS", "open")])
async def test_result_sequences_over_both_windows(
    autojump_clock: trio.testing.MockClock, window: dict[str, Any], results: str, state: str
) -> None:
    assert await play(Breaker(minimum_calls=5, **window), results) == state


@pytest.mark.trio
async def test_only_a_time_window_forgets_with_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await play(Breaker(minimum_calls=5, window=20, down_after=None), "FFFFF", every=6) == "closed"
    assert await play(Breaker(minimum_calls=5, window_calls=20, down_after=None), "FFFFF", every=6) == "open"


@pytest.mark.trio
@pytest.mark.parametrize(
    ("results", "every", "state"),
    [
        ("S" * 500 + "F" * 25, 0.1, "open"),  # 25 of 525, but nothing else for two seconds
        ("S" * 500 + "F" * 15, 0.1, "closed"),
        ("S" * 500 + "F" * 15 + "S" + "F" * 15, 0.1, "closed"),  # there is one reply
        ("S" * 500 + "F" * 100, 0.01, "closed"),  # one second without a reply: a restart
    ],
)
async def test_only_failures_for_down_after_seconds_open_the_circuit(
    autojump_clock: trio.testing.MockClock, results: str, every: float, state: str
) -> None:
    assert await play(Breaker(), results, every=every) == state


@pytest.mark.trio
async def test_extra_probe_is_refused_and_a_released_permit_is_reused(
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
    "error",
    [
        headrace.DeadlineExceeded("the caller's own"),
        headrace.BudgetExceeded("of an inner policy"),
        ZeroDivisionError("a bug in an inner policy"),
    ],
)
async def test_probe_without_a_result_releases_its_permit(
    autojump_clock: trio.testing.MockClock, error: Exception
) -> None:
    breaker = Breaker.classic()
    await play(breaker, "FFFFF")
    async with FakeEndpoint(error).client([breaker]) as client:
        await trio.sleep(60)
        await call(client)
        assert breaker.state(URL) == "half_open"
        assert await call(client) == "ok"
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
async def test_slow_replies_open_the_circuit_and_slow_probes_reopen_it(
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
async def test_stream_is_slow_by_its_first_chunk_not_by_its_reader(
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
async def test_flapping_endpoint_opens_the_circuit_for_the_full_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # For ten hours it answers each probe and fails again; a call that began before fails late.
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
@pytest.mark.parametrize("answer", [400, 401, 403, 404, 422, 429, Answer(delay=30)])
async def test_client_errors_and_cancellations_do_not_open_the_circuit(
    autojump_clock: trio.testing.MockClock, answer: Any
) -> None:
    breaker = Breaker(minimum_calls=5, consecutive=5)
    async with FakeEndpoint(otherwise=answer).client([breaker]) as client:
        for _ in range(50):
            with anyio.move_on_after(1):
                await call(client)
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
async def test_wall_clock_jumps_change_nothing(
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

    expected = await story(lambda seconds: None)
    wall, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + wall[0])
    jumping = await story(lambda seconds: wall.__setitem__(0, seconds))
    assert jumping == expected
    assert [code for _, code in expected].count("circuit_open") == 2 * 59


@pytest.mark.anyio
async def test_state_by_endpoint_name_or_url() -> None:
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
        # Endpoints that share a URL share its circuit.
        fake.then(500)
        await client.chat("Hallo", model="medium")
        await call_model(client, "small")
        assert breaker.state("cheap") == breaker.state("other key") == "open"


async def call_model(client: headrace.Client, model: str) -> None:
    with pytest.raises(headrace.ServerError):
        await client.chat("Hallo", model=model)


@attrs.frozen
class WaitingPolicy:
    """Waits in `Call.waiting`, as a rate-limiting policy does."""

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
async def test_waiting_time_does_not_make_an_attempt_slow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    breaker = Breaker(slow_after=2.0, slow_rate=0.5, minimum_calls=4)
    endpoint = FakeEndpoint(otherwise=Answer(delay=1.0))
    waits = WaitingPolicy(lambda: 30.0)
    client = endpoint.client([breaker, waits], max_in_flight=1)
    async with client, trio.open_nursery() as nursery:
        for _ in range(10):  # the last one waits another nine seconds for the only token
            nursery.start_soon(call, client)
    assert len(endpoint.attempts) == 10
    assert breaker.state(URL) == "closed"
    slow = Breaker(slow_after=2.0, slow_rate=0.5, window_calls=4)
    async with FakeEndpoint(otherwise=Answer(delay=2.5)).client([slow, waits]) as client:
        for _ in range(4):
            await call(client)
    assert slow.state(URL) == "open"


@pytest.mark.trio
async def test_attempt_that_waited_while_the_circuit_opened_becomes_the_probe(
    autojump_clock: trio.testing.MockClock,
) -> None:
    delays = iter([30.0, 70.0, 80.0, 0.1, 0.2])
    endpoint = FakeEndpoint(503, 503, Answer(delay=20.0))
    policies: list[Policy] = [Breaker(consecutive=2, probes=1), WaitingPolicy(lambda: next(delays))]
    codes: list[tuple[float, str]] = []

    async def ask(client: headrace.Client) -> None:
        code = await call(client)
        codes.append((round(trio.current_time(), 1), code))

    async with endpoint.client(policies) as client, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, client)
    # The probe starts after 70 s and is in flight until 90 s.
    assert codes[2:] == [(30.0, "circuit_open"), (80.0, "circuit_open"), (90.0, "ok")]
    assert len(endpoint.attempts) == 3


async def open_circuit(breaker: Breaker) -> None:
    assert breaker.state(URL) in {"closed", "open"}  # the state of an earlier loop, if any
    async with FakeEndpoint("ok", otherwise=500).client([breaker]) as client:
        assert await call(client) == "ok", "a circuit of the earlier loop would refuse this"
        assert breaker.state(URL) == "closed"
        for _ in range(5):
            await call(client)
        assert breaker.state(URL) == "open"


@pytest.mark.parametrize("first", ["trio", "asyncio"])
@pytest.mark.parametrize("second", ["trio", "asyncio"])
def test_circuits_restart_in_a_new_event_loop(first: str, second: str) -> None:
    breaker = Breaker(failure_rate=None, consecutive=5)
    anyio.run(open_circuit, breaker, backend=first)
    anyio.run(open_circuit, breaker, backend=second)


@pytest.mark.parametrize("first", ["trio", "asyncio"])
@pytest.mark.parametrize("second", ["trio", "asyncio"])
def test_second_running_event_loop_is_refused(first: str, second: str) -> None:
    breaker = Breaker()
    is_open, refused = threading.Event(), threading.Event()
    endpoint = FakeEndpoint()

    async def hold() -> None:
        async with endpoint.client([breaker]) as client:
            await client.chat("?")
            is_open.set()
            await anyio.to_thread.run_sync(refused.wait, 10.0)
            assert await call(client) == "ok", "the first client goes on working"

    async def expect_refusal() -> None:
        with pytest.raises(
            headrace.ClientStateError, match="policy 'breaker' is in use in another event loop"
        ):
            async with FakeEndpoint().client([breaker]):
                pytest.fail("the second client opened")

    with concurrent.futures.ThreadPoolExecutor() as threads:
        holding = threads.submit(lambda: anyio.run(hold, backend=first))
        assert is_open.wait(10)
        try:
            anyio.run(expect_refusal, backend=second)
        finally:
            refused.set()
        holding.result()
    anyio.run(hold, backend=second)  # the first has ended
