"""Attempts that wait for the budget: in what order, holding nothing, and in one event loop after another."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_cost import Cost
from headrace_cost.budget import Account, Budget
from headrace_cost.ledger import Ledger

ONE = Decimal(1)
PRICES = {"dear": {"input": "0", "output": "100000"}, "free": {"input": "0", "output": "0"}}
"""An answer of at most ten tokens may cost one dollar; so may those of five with ``n=2``."""


def account(kind: str, limit: int, folder: Path) -> Account:
    return Budget(Decimal(limit)) if kind == "budget" else Ledger(Decimal(limit), folder / "cost")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["budget", "ledger"])
async def test_waiters_are_served_by_priority_and_then_in_order(kind: str, tmp_path: Path) -> None:
    ours, order = account(kind, 1, tmp_path), list[str]()

    async def attempt(name: str, priority: float) -> None:
        assert await ours.reserve(ONE, priority)
        order.append(name)
        ours.settle(ONE, Decimal(0))

    assert ours.reserve_nowait(ONE)
    async with anyio.create_task_group() as group:
        for name, priority in [("low", -1), ("first", 0), ("second", 0), ("urgent", 5)]:
            group.start_soon(attempt, name, priority)
            await anyio.sleep(0.001)
        ours.settle(ONE, Decimal(0))
    assert order == ["urgent", "first", "second", "low"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["budget", "ledger"])
async def test_nobody_of_the_same_priority_overtakes_and_a_higher_one_does(kind: str, tmp_path: Path) -> None:
    ours = account(kind, 2, tmp_path)
    assert ours.reserve_nowait(ONE)
    async with anyio.create_task_group() as group:
        group.start_soon(ours.reserve, Decimal(2))
        await anyio.sleep(0.001)
        assert ours.reserve_nowait(ONE) is None
        assert ours.reserve_nowait(ONE, priority=1) is True
        assert ours.reserve_nowait(Decimal(0)) is True
        group.cancel_scope.cancel()
    ours.settle(ONE, Decimal(0))
    assert ours.reserve_nowait(ONE) is True, "whoever was cancelled is in nobody's way"


@pytest.mark.trio
@pytest.mark.parametrize("shared", [False, True])
async def test_an_attempt_that_waits_for_the_budget_holds_no_token(
    shared: bool,
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shared:
        monkeypatch.setenv("HEADRACE_SHARED_FOLDER", str(tmp_path))
    cost = Cost(prices=PRICES, budget=1)
    endpoint = FakeEndpoint(otherwise=Answer(delay=50.0, completion_tokens=0))
    async with endpoint.client([cost], max_in_flight=2) as client, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            await client.chat(f"{number}", model="dear", max_tokens=10)

        for number in range(5):
            nursery.start_soon(ask, number)
        await trio.sleep(1)
        assert client.in_flight == 1
        began = trio.current_time()
        await client.chat("?", model="free")
        assert endpoint.times[1] == began, "it was sent at once"
    assert len(endpoint.attempts) == 6
    assert cost.spent == 0


@pytest.mark.trio
async def test_a_reservation_comes_back_when_a_call_is_cancelled_while_it_takes_its_token_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cost = Cost(prices=PRICES, budget=1)
    endpoint = FakeEndpoint(Answer(delay=10.0, completion_tokens=0), otherwise=Answer(delay=50.0))
    async with endpoint.client([cost], max_in_flight=2) as client, trio.open_nursery() as nursery:

        async def ask(model: str, seconds: float = 1000.0) -> None:
            with trio.move_on_after(seconds):
                await client.chat("?", model=model, max_tokens=10)

        nursery.start_soon(ask, "dear")  # all of the budget, until 10.0
        await trio.sleep(1)
        nursery.start_soon(ask, "dear", 20.0)  # gives its token back, and has the budget from 10.0 on
        await trio.sleep(1)
        nursery.start_soon(ask, "free")  # that token, until 52.0
        nursery.start_soon(ask, "free")  # the first one's, from 10.0 on
        await trio.sleep(10)
        assert cost._account is not None
        assert cost._account.reserve_nowait(ONE) is None
        assert client.limiter.statistics().tasks_waiting == 1
        await trio.sleep(10)
        assert cost._account.reserve_nowait(ONE) is True
    assert len(endpoint.attempts) == 3


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("shared", [False, True])
def test_what_was_reserved_in_an_event_loop_that_has_ended_is_spent(
    backend: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shared:
        monkeypatch.setenv("HEADRACE_SHARED_FOLDER", str(tmp_path))
    cost = Cost(prices=PRICES, budget=3)
    streams: list[headrace.Stream] = []

    async def leave_a_stream_open() -> None:
        async with FakeEndpoint(Answer(completion_tokens=5)).client([cost]) as client:
            await client.chat("?", model="dear", max_tokens=10)
            stream = client.stream("?", model="dear", max_tokens=10)
            await stream.__aenter__()
            streams.append(stream)
        assert cost.spent == Decimal("0.5")

    later = FakeEndpoint().client([cost])  # made before the reset, opened after it

    async def call_again() -> None:
        async with later as client:
            assert cost.spent == Decimal("1.5")
            assert cost.totals.calls == 1
            await client.chat("?", model="dear", max_tokens=10)
            with pytest.raises(headrace.BudgetExceeded):
                await client.chat("?", model="dear", max_tokens=20)
            streams[0]._call.end(headrace.StreamResult())  # that of the first loop ends at last: no news
            assert cost.spent == Decimal("2.0")

    anyio.run(leave_a_stream_open, backend=backend)
    anyio.run(call_again, backend=backend)
