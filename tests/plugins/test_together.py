"""Four policies together, as in a client with the default policies."""

from __future__ import annotations

import logging
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.plugins.outage import Outage

import headrace
from headrace.testing import FakeEndpoint
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_retry import Retry

URL = "http://fake.test/v1"
PRICES = {"fake-model": {"input": "1", "output": "2"}}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "headrace")
    return caplog


def levels(log: pytest.LogCaptureFixture) -> dict[str, int]:
    return dict(Counter(record.levelname for record in log.records))


def four_policies(
    retry: Retry | None = None, breaker: Breaker | None = None, cost: Cost | None = None
) -> list[Any]:
    # Not in order: the client sorts them.
    return [retry or Retry(), Logging(), breaker or Breaker(), cost or Cost(prices=PRICES)]


def test_installed_policies_are_active_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [policy.name for policy in FakeEndpoint().client(None).policies]
    assert [name for name in names if name in {"retry", "breaker", "cost", "logging"}] == [
        "logging",
        "cost",
        "retry",
        "breaker",
    ]


def test_one_file_configures_all_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text(
        "policies = ['retry', 'breaker', 'cost']\n"
        "[retry]\nattempts = 5\n[breaker]\nconsecutive = 5\n[cost]\nbudget = '12.50'\n"
        "[cost.prices.fake-model]\ninput = 1\noutput = 2\n"
    )
    cost, retry, breaker = FakeEndpoint().client(None).policies
    assert isinstance(cost, Cost)
    assert isinstance(retry, Retry)
    assert isinstance(breaker, Breaker)
    assert (cost.budget, retry.attempts, breaker.consecutive) == (Decimal("12.50"), 5, 5)


@pytest.mark.anyio
async def test_retried_call_has_one_log_line_one_cost_and_one_warning_per_retry(
    log: pytest.LogCaptureFixture,
) -> None:
    cost = Cost(prices=PRICES)
    async with FakeEndpoint(500, 429, "ok").client(four_policies(Retry(base=0.001), cost=cost)) as client:
        reply = await client.chat("Hallo", id="7")
    assert reply.attempts == 3
    assert (cost.totals.calls, cost.totals.cost) == (1, Decimal("0.00002"))
    assert reply.cost == Decimal("0.00002")
    assert [record.getMessage().partition(" headrace.id=7 ")[0] for record in log.records] == [
        "retry",
        "retry",
        "call ok",
    ]
    line = log.records[-1].getMessage()
    assert "headrace.attempts=3" in line
    assert "headrace.cost=0.00002" in line


@pytest.mark.anyio
async def test_budget_is_reserved_once_for_all_attempts() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.00015"))
    async with FakeEndpoint(500, 500).client(four_policies(Retry(base=0.001), cost=cost)) as client:
        assert (await client.chat("Hallo", max_tokens=5)).attempts == 3
    assert cost.totals.cost == Decimal("0.00002")


@pytest.mark.trio
async def test_call_fails_fast_after_its_own_retries_open_the_circuit(
    autojump_clock: trio.testing.MockClock, log: pytest.LogCaptureFixture
) -> None:
    breaker = Breaker.classic()
    endpoint = FakeEndpoint(*[500] * 5)
    retry = Retry(attempts=7, base=1.0, cap=1.0, jitter="none")
    async with endpoint.client(four_policies(retry, breaker)) as client:
        with pytest.raises(headrace.CircuitOpen, match=r"next probe is due in 59\.0 s") as caught:
            await client.chat("Hallo")
        assert breaker.state(URL) == "open"
        # Five attempts, one second apart, open the circuit; the sixth is rejected.
        assert endpoint.times == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert (caught.value.attempts, trio.current_time()) == (5, 5.0)
        await trio.sleep(caught.value.retry_after)
        assert (await client.chat("Hallo")).attempts == 1
        assert breaker.state(URL) == "closed"
    assert levels(log) == {"WARNING": 5 + 1 + 3, "INFO": 1}


@pytest.mark.trio
async def test_outage_of_an_hour(
    autojump_clock: trio.testing.MockClock, log: pytest.LogCaptureFixture
) -> None:
    # Two hours with one call per second; the endpoint is down from minute 30 to minute 90.
    endpoint, breaker, cost = Outage(1800.0, 5400.0), Breaker(), Cost(prices=PRICES)
    failed: list[float] = []

    async with endpoint.client(four_policies(Retry(), breaker, cost), max_in_flight=1000) as client:

        async def call() -> None:
            try:
                await client.chat("Hallo")
            except headrace.CallError:
                failed.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(7200):
                nursery.start_soon(call)
                await trio.sleep(1.0)

    down = [time for time in endpoint.times if endpoint.is_down(time)]
    # In that hour there are 3,600 calls with up to three attempts each; hardly any reaches the endpoint.
    assert len(down) < 300
    # Outside that hour calls fail only in the first minute after it, until a probe closes the circuit.
    assert min(failed) >= 1800.0
    assert max(failed) < 5400.0 + 61.0
    assert len(failed) > 3_500
    assert breaker.state(URL) == "closed"
    assert cost.totals.calls == 7200 - len(failed)
    assert cost.totals.cost == cost.totals.calls * Decimal("0.00002")
    # Exactly one line per call.
    ended = [record for record in log.records if record.getMessage().startswith("call ")]
    assert len(ended) == 7200
    # Open, half open and open again once per minute: few changes of state.
    changes = [record for record in log.records if record.getMessage().startswith("circuit ")]
    assert 100 < len(changes) < 140
