"""Jumps of the wall clock do not affect waits, counts or limits."""

from __future__ import annotations

import itertools
import time
from typing import Any

import anyio
import pytest

from headrace import CallTimeout, CircuitOpen, Client, DeadlineExceeded
from headrace.testing import Answer, FakeEndpoint
from headrace_breaker import Breaker
from headrace_retry import Retry

YEAR = 365 * 86400.0


@pytest.fixture(params=[-YEAR, 0.0, YEAR], ids=["back", "steady", "forth"])
def jumping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock jumps a year ahead or back each time it is read."""
    jump, looks, now = request.param, itertools.count(1), time.time()
    monkeypatch.setattr(time, "time", lambda: now + next(looks) * jump)


async def _retried(client: Client) -> float:
    start = anyio.current_time()
    await client.chat("Hallo")
    return anyio.current_time() - start


@pytest.mark.trio
async def test_retry_after_wait_has_its_length(jumping: None, autojump_clock: Any) -> None:
    rejection = Answer(status=429, body=b"{}", headers={"retry-after": "20"})
    async with FakeEndpoint(rejection, 500, "ok").client([Retry(base=1, jitter="none")]) as client:
        assert 21 <= await _retried(client) < 24


@pytest.mark.trio
async def test_circuit_opens_and_closes_on_time(jumping: None, autojump_clock: Any) -> None:
    async with FakeEndpoint(*[500] * 5, "ok").client([Breaker.classic()]) as client:
        for _ in range(5):
            with pytest.raises(Exception, match="500"):
                await client.chat("Hallo")
        await anyio.sleep(59)
        with pytest.raises(CircuitOpen):
            await client.chat("Hallo")
        await anyio.sleep(1)
        assert (await client.chat("Hallo")).text == "ok"


@pytest.mark.trio
async def test_timeouts_and_deadlines_have_their_length(jumping: None, autojump_clock: Any) -> None:
    async with FakeEndpoint(otherwise=Answer(delay=3600)).client(timeout=30) as client:
        for deadline, kind, seconds in ((None, CallTimeout, 30), (7, DeadlineExceeded, 7)):
            start = anyio.current_time()
            with pytest.raises(kind):
                await client.chat("Hallo", deadline=deadline)
            assert anyio.current_time() - start == pytest.approx(seconds)
