"""Attempts that wait for the budget: their order, their tokens, and a change of the event loop."""

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
from headrace_cost.budget import BudgetAccount, LocalBudget
from headrace_cost.shared_ledger import Ledger

ONE_USD = Decimal(1)
PRICES = {"expensive": {"input": "0", "output": "100000"}, "free": {"input": "0", "output": "0"}}
"""An answer of ten tokens costs one USD."""


def account(kind: str, limit: int, folder: Path) -> BudgetAccount:
    return LocalBudget(Decimal(limit)) if kind == "budget" else Ledger(Decimal(limit), folder / "cost")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["budget", "ledger"])
async def test_waiters_are_served_by_priority_then_fifo(kind: str, tmp_path: Path) -> None:
    ours, order = account(kind, 1, tmp_path), list[str]()

    async def attempt(name: str, priority: float) -> None:
        assert await ours.reserve(ONE_USD, priority)
        order.append(name)
        ours.settle(ONE_USD, Decimal(0))

    assert ours.reserve_nowait(ONE_USD)
    async with anyio.create_task_group() as group:
        for name, priority in [("low", -1), ("first", 0), ("second", 0), ("urgent", 5)]:
            group.start_soon(attempt, name, priority)
            await anyio.sleep(0.001)
        ours.settle(ONE_USD, Decimal(0))
    assert order == ["urgent", "first", "second", "low"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["budget", "ledger"])
async def test_only_a_higher_priority_overtakes(kind: str, tmp_path: Path) -> None:
    ours = account(kind, 2, tmp_path)
    assert ours.reserve_nowait(ONE_USD)
    async with anyio.create_task_group() as group:
        group.start_soon(ours.reserve, Decimal(2))
        await anyio.sleep(0.001)
        assert ours.reserve_nowait(ONE_USD) is None
        assert ours.reserve_nowait(ONE_USD, priority=1) is True
        assert ours.reserve_nowait(Decimal(0)) is True
        group.cancel_scope.cancel()
    ours.settle(ONE_USD, Decimal(0))
    assert ours.reserve_nowait(ONE_USD) is True, "a cancelled waiter does not block others"


@pytest.mark.trio
@pytest.mark.parametrize("shared", [False, True])
async def test_attempt_that_waits_for_the_budget_holds_no_token(
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
            await client.chat(f"{number}", model="expensive", max_tokens=10)

        for number in range(5):
            nursery.start_soon(ask, number)
        await trio.sleep(1)
        assert client.in_flight == 1
        began = trio.current_time()
        await client.chat("?", model="free")
        assert endpoint.times[1] == began, "it is sent at once"
    assert len(endpoint.attempts) == 6
    assert cost.spent == 0


@pytest.mark.trio
async def test_cancellation_while_reacquiring_a_token_releases_the_reservation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cost = Cost(prices=PRICES, budget=1)
    endpoint = FakeEndpoint(Answer(delay=10.0, completion_tokens=0), otherwise=Answer(delay=50.0))
    async with endpoint.client([cost], max_in_flight=2) as client, trio.open_nursery() as nursery:

        async def ask(model: str, seconds: float = 1000.0) -> None:
            with trio.move_on_after(seconds):
                await client.chat("?", model=model, max_tokens=10)

        nursery.start_soon(ask, "expensive")  # holds the whole budget until 10.0
        await trio.sleep(1)
        nursery.start_soon(ask, "expensive", 20.0)  # releases its token, and has the budget from 10.0 on
        await trio.sleep(1)
        nursery.start_soon(ask, "free")  # takes that token until 52.0
        nursery.start_soon(ask, "free")  # takes the first call's token from 10.0 on
        await trio.sleep(10)
        assert cost._account is not None
        assert cost._account.reserve_nowait(ONE_USD) is None
        assert client.limiter.statistics().tasks_waiting == 1
        await trio.sleep(10)
        assert cost._account.reserve_nowait(ONE_USD) is True
    assert len(endpoint.attempts) == 3


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("shared", [False, True])
def test_reservations_of_an_ended_event_loop_count_as_spent(
    backend: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shared:
        monkeypatch.setenv("HEADRACE_SHARED_FOLDER", str(tmp_path))
    cost = Cost(prices=PRICES, budget=3)
    streams: list[headrace.Stream] = []

    async def leave_a_stream_open() -> None:
        async with FakeEndpoint(Answer(completion_tokens=5)).client([cost]) as client:
            await client.chat("?", model="expensive", max_tokens=10)
            stream = client.stream("?", model="expensive", max_tokens=10)
            await stream.__aenter__()
            streams.append(stream)
        assert cost.spent == Decimal("0.5")

    later = FakeEndpoint().client([cost])  # made before the reset, opened after it

    async def call_again() -> None:
        async with later as client:
            assert cost.spent == Decimal("1.5")
            assert cost.totals.calls == 1
            await client.chat("?", model="expensive", max_tokens=10)
            with pytest.raises(headrace.BudgetExceeded):
                await client.chat("?", model="expensive", max_tokens=20)
            streams[0]._call.end(headrace.StreamResult())  # the stream of the first loop ends: no effect
            assert cost.spent == Decimal("2.0")

    anyio.run(leave_a_stream_open, backend=backend)
    anyio.run(call_again, backend=backend)
