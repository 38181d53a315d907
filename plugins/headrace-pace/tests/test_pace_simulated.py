"""Against simulated limits: minutes and an hour in virtual time, and the embedded endpoint over sockets."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

import headrace
from headrace.testing.server import Behaviour, endpoint_process
from headrace_pace import Pace
from limited import Kind, Limited, Meter

SECONDS = 300.0


async def load(
    endpoint: Limited, pace: Pace, in_flight: int, seconds: float = SECONDS, **parameters: Any
) -> None:
    """Call without a rest for so many seconds."""
    Retry = pytest.importorskip("headrace_retry").Retry
    policies: list[headrace.Policy] = [pace, Retry(attempts=5)]
    async with endpoint.client(policies, max_in_flight=in_flight) as client:
        with trio.move_on_after(seconds):
            async with client.map(itertools.repeat({"messages": [], **parameters})) as outcomes:
                async for outcome in outcomes:
                    assert outcome.ok


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize("latency", [0.2, 2.0])
@pytest.mark.parametrize("says", [True, False])
async def test_with_a_limit_that_is_set(
    autojump_clock: trio.testing.MockClock, kind: Kind, latency: float, says: bool
) -> None:
    endpoint = Limited(requests=Meter(600, kind=kind), latency=latency, says=says)
    await load(endpoint, Pace(requests_per_minute=600), in_flight=100)
    assert len(endpoint.accepted) >= 0.9 * 10 * SECONDS
    # A window that nobody tells of sees what may go at once, a second's worth, as too much once.
    assert len(endpoint.refused) <= 10


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize("latency", [0.2, 10.0])
@pytest.mark.parametrize("asks", [True, False])
async def test_learnt_from_headers_alone(
    autojump_clock: trio.testing.MockClock, kind: Kind, latency: float, asks: bool
) -> None:
    endpoint = Limited(requests=Meter(600, kind=kind), latency=latency, asks=asks)
    await load(endpoint, Pace(), in_flight=700)
    assert len(endpoint.accepted) >= 0.8 * 10 * SECONDS
    # Of the 700 sent before anything was known, 100 were too many.
    assert len([time for time in endpoint.refused if time < 30]) <= 101
    assert len([time for time in endpoint.refused if time >= 30]) <= 5


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize(
    ("limit", "period", "seconds"), [(50.0, 1.0, 60.0), (6.0, 60.0, 900.0), (3600.0, 3600.0, 3600.0)]
)
async def test_whatever_the_time_is_that_a_limit_is_for(
    autojump_clock: trio.testing.MockClock, kind: Kind, limit: float, period: float, seconds: float
) -> None:
    endpoint = Limited(requests=Meter(limit, period, kind), latency=1.0)
    await load(endpoint, Pace(), in_flight=20 if limit < 50 else 100, seconds=seconds)
    # The first period's worth, and then the rate.
    assert len(endpoint.accepted) >= 0.8 * limit * seconds / period
    assert len([time for time in endpoint.refused if time >= seconds / 4]) <= 5


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
async def test_another_process_uses_half_of_the_account(
    autojump_clock: trio.testing.MockClock, kind: Kind
) -> None:
    endpoint = Limited(requests=Meter(600, kind=kind), others=5.0)
    await load(endpoint, Pace(), in_flight=200)
    assert len(endpoint.accepted) >= 0.9 * 5 * SECONDS
    assert len(endpoint.refused) <= 0.005 * len(endpoint.accepted)


@pytest.mark.trio
@pytest.mark.parametrize("limit", [None, 60_000], ids=["learnt", "set"])
@pytest.mark.parametrize("answer_tokens", [100, 200])
async def test_tokens(autojump_clock: trio.testing.MockClock, limit: int | None, answer_tokens: int) -> None:
    # It counts the 200 that an answer may have, and never gives back what it had not.
    endpoint = Limited(tokens=Meter(60_000), requests=Meter(6000), answer_tokens=answer_tokens)
    await load(endpoint, Pace(tokens_per_minute=limit), in_flight=300, max_tokens=200)
    assert endpoint.used >= 0.9 * 1000 * SECONDS
    assert len(endpoint.refused) <= 20


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize(
    ("limit", "in_flight", "latency", "seconds"),
    [(600, 50, 0.3, 600.0), (600, 50, 3.0, 600.0), (6000, 500, 3.0, 200.0)],
)
@pytest.mark.parametrize("asks", [True, False])
async def test_an_endpoint_that_says_nothing_but_429(
    autojump_clock: trio.testing.MockClock,
    kind: Kind,
    limit: int,
    in_flight: int,
    latency: float,
    seconds: float,
    asks: bool,
) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = Limited(requests=Meter(limit, kind=kind), latency=latency, says=False, asks=asks)
    policies: list[headrace.Policy] = [Pace(), Retry(attempts=5)]
    async with endpoint.client(policies, max_in_flight=in_flight) as client:
        with trio.move_on_after(seconds):
            await client.map(itertools.repeat("Hallo")).each(lambda outcome: None)
    # A window that is used up refuses all until it is over, so that more is lost to seeing whether it is.
    rate, refused = (0.8, 0.02) if kind == "bucket" else (0.7, 0.03)
    assert len(endpoint.accepted) >= rate * limit / 60 * seconds
    attempts = len(endpoint.accepted) + len(endpoint.refused)
    assert len(endpoint.refused) <= refused * attempts


@pytest.mark.anyio
async def test_a_bulk_run_against_the_embedded_endpoint_with_a_limit_that_is_set() -> None:
    pytest.importorskip("uvicorn")
    async with (
        endpoint_process(Behaviour(rate_limit=200, latency=0.05)) as embedded,
        headrace.Client(
            base_url=embedded.base_url, model="m", policies=[Pace(requests_per_minute=12_000, burst=0.5)]
        ) as client,
        client.map(f"Question {number}" for number in range(400)) as outcomes,
    ):
        failed = [outcome.error async for outcome in outcomes if not outcome.ok]
    assert failed == []


@pytest.mark.anyio
async def test_a_bulk_run_against_the_embedded_endpoint_learns_from_its_headers() -> None:
    pytest.importorskip("uvicorn")
    Retry = pytest.importorskip("headrace_retry").Retry
    refused = 0

    class Refused:
        name = "refused"

        def notify(self, event: headrace.Event) -> None:
            nonlocal refused
            refused += event.name == "retry"

    async with (
        endpoint_process(Behaviour(rate_limit=200, latency=0.05)) as embedded,
        headrace.Client(
            base_url=embedded.base_url,
            model="m",
            policies=[Pace(), Retry(base=0.05)],
            observers=[Refused()],
            max_in_flight=100,
        ) as client,
        client.map(f"Question {number}" for number in range(600)) as outcomes,
    ):
        failed = [outcome.error async for outcome in outcomes if not outcome.ok]
    assert failed == []
    assert refused <= 30
