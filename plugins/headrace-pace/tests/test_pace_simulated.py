"""Against simulated limits: minutes and an hour in virtual time, and the embedded endpoint over sockets."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

import headrace
from headrace.testing import EventRecorder
from headrace.testing.server import Behaviour, endpoint_process
from headrace_pace import Pace
from limited_endpoint import Kind, LimitedEndpoint, Meter

SECONDS = 180.0


async def load(
    endpoint: LimitedEndpoint, pace: Pace, in_flight: int, seconds: float = SECONDS, **parameters: Any
) -> None:
    """Make calls without a break for ``seconds``."""
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
@pytest.mark.parametrize("send_headers", [True, False])
async def test_a_set_limit_is_used_and_kept(
    autojump_clock: trio.testing.MockClock, kind: Kind, latency: float, send_headers: bool
) -> None:
    endpoint = LimitedEndpoint(requests=Meter(600, kind=kind), latency=latency, send_headers=send_headers)
    await load(endpoint, Pace(requests_per_minute=600), in_flight=100)
    assert len(endpoint.accepted) >= 0.9 * 10 * SECONDS
    # A window without headers sees one burst, a second's worth, as too much once.
    assert len(endpoint.rejected) <= 10


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize("latency", [0.2, 10.0])
@pytest.mark.parametrize("send_retry_after", [True, False])
async def test_a_limit_is_learnt_from_headers(
    autojump_clock: trio.testing.MockClock, kind: Kind, latency: float, send_retry_after: bool
) -> None:
    endpoint = LimitedEndpoint(
        requests=Meter(600, kind=kind), latency=latency, send_retry_after=send_retry_after
    )
    await load(endpoint, Pace(), in_flight=700)
    assert len(endpoint.accepted) >= 0.8 * 10 * SECONDS
    # Of the 700 calls sent before anything was known, 100 were too many.
    assert len([time for time in endpoint.rejected if time < 30]) <= 101
    assert len([time for time in endpoint.rejected if time >= 30]) <= 5


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize(
    ("limit", "period", "seconds"), [(50.0, 1.0, 60.0), (6.0, 60.0, 900.0), (3600.0, 3600.0, 3600.0)]
)
async def test_a_limit_of_any_period_is_learnt(
    autojump_clock: trio.testing.MockClock, kind: Kind, limit: float, period: float, seconds: float
) -> None:
    endpoint = LimitedEndpoint(requests=Meter(limit, period, kind), latency=1.0)
    await load(endpoint, Pace(), in_flight=20 if limit < 50 else 100, seconds=seconds)
    # The first period's worth, and then the rate.
    assert len(endpoint.accepted) >= 0.8 * limit * seconds / period
    assert len([time for time in endpoint.rejected if time >= seconds / 4]) <= 5


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
async def test_other_clients_of_the_account_are_taken_into_account(
    autojump_clock: trio.testing.MockClock, kind: Kind
) -> None:
    endpoint = LimitedEndpoint(requests=Meter(600, kind=kind), others=5.0)
    await load(endpoint, Pace(), in_flight=200)
    assert len(endpoint.accepted) >= 0.9 * 5 * SECONDS
    assert len(endpoint.rejected) <= 0.005 * len(endpoint.accepted)


@pytest.mark.trio
@pytest.mark.parametrize("limit", [None, 60_000], ids=["learnt", "set"])
@pytest.mark.parametrize("answer_tokens", [100, 200])
async def test_a_token_limit_is_used_and_kept(
    autojump_clock: trio.testing.MockClock, limit: int | None, answer_tokens: int
) -> None:
    # The endpoint counts the 200 tokens that an answer may have, and does not return unused ones.
    endpoint = LimitedEndpoint(tokens=Meter(60_000), requests=Meter(6000), answer_tokens=answer_tokens)
    await load(endpoint, Pace(tokens_per_minute=limit), in_flight=300, max_tokens=200)
    assert endpoint.used >= 0.9 * 1000 * SECONDS
    assert len(endpoint.rejected) <= 20


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["bucket", "window"])
@pytest.mark.parametrize(
    ("limit", "in_flight", "latency", "seconds"),
    [(600, 50, 0.3, 600.0), (600, 50, 3.0, 600.0), (6000, 500, 3.0, 100.0)],
)
@pytest.mark.parametrize("send_retry_after", [True, False])
async def test_a_limit_without_headers_is_learnt_from_rejections(
    autojump_clock: trio.testing.MockClock,
    kind: Kind,
    limit: int,
    in_flight: int,
    latency: float,
    seconds: float,
    send_retry_after: bool,
) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = LimitedEndpoint(
        requests=Meter(limit, kind=kind),
        latency=latency,
        send_headers=False,
        send_retry_after=send_retry_after,
    )
    policies: list[headrace.Policy] = [Pace(), Retry(attempts=5)]
    async with endpoint.client(policies, max_in_flight=in_flight) as client:
        with trio.move_on_after(seconds):
            await client.map(itertools.repeat("Hallo")).each(lambda outcome: None)
    # A window that is used up rejects all calls until its end, so probes cost more.
    rate, rejected = (0.8, 0.02) if kind == "bucket" else (0.7, 0.03)
    assert len(endpoint.accepted) >= rate * limit / 60 * seconds
    attempts = len(endpoint.accepted) + len(endpoint.rejected)
    assert len(endpoint.rejected) <= rejected * attempts


@pytest.mark.anyio
async def test_a_bulk_run_keeps_to_a_set_limit_of_the_embedded_endpoint() -> None:
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
async def test_a_bulk_run_learns_the_limit_of_the_embedded_endpoint() -> None:
    pytest.importorskip("uvicorn")
    Retry = pytest.importorskip("headrace_retry").Retry
    recorder = EventRecorder()
    async with (
        endpoint_process(Behaviour(rate_limit=200, latency=0.05)) as embedded,
        headrace.Client(
            base_url=embedded.base_url,
            model="m",
            policies=[Pace(), Retry(base=0.05)],
            observers=[recorder],
            max_in_flight=100,
        ) as client,
        client.map(f"Question {number}" for number in range(600)) as outcomes,
    ):
        failed = [outcome.error async for outcome in outcomes if not outcome.ok]
    assert failed == []
    assert len(recorder.data("retry")) <= 30
