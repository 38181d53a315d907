"""The budget: reservations, their order, and calls that are cancelled while they wait."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import anyio
import pytest

from headrace_cost.budget import Budget

ONE = Decimal(1)


@pytest.mark.anyio
async def test_what_fits_is_reserved_at_once() -> None:
    budget = Budget(Decimal(2))
    assert await budget.reserve(ONE)
    assert await budget.reserve(ONE)
    assert (budget.spent, budget.reserved) == (Decimal(0), Decimal(2))


@pytest.mark.anyio
async def test_what_can_never_fit_is_refused_at_once() -> None:
    budget = Budget(Decimal(2))
    assert not await budget.reserve(Decimal("2.01"))
    assert await budget.reserve(ONE)
    budget.settle(ONE, Decimal("1.5"))
    assert not await budget.reserve(ONE)
    assert await budget.reserve(Decimal("0.5"))


@pytest.mark.anyio
async def test_waits_for_calls_in_flight_and_goes_in_order() -> None:
    budget, order = Budget(Decimal(2)), list[str]()

    async def call(name: str, amount: Decimal) -> None:
        assert await budget.reserve(amount)
        order.append(name)

    assert await budget.reserve(Decimal(2))
    async with anyio.create_task_group() as group:
        for name in ("first", "second", "third"):
            group.start_soon(call, name, ONE)
            await anyio.wait_all_tasks_blocked()
        assert order == []
        for expected in (["first"], ["first", "second"]):
            budget.settle(ONE, Decimal(0))
            await anyio.wait_all_tasks_blocked()
            assert order == expected
        budget.settle(ONE, ONE)  # spent, so that nothing is free
        await anyio.wait_all_tasks_blocked()
        assert order == ["first", "second"]
        budget.settle(ONE, Decimal(0))
    assert order == ["first", "second", "third"]


@pytest.mark.anyio
async def test_a_newcomer_does_not_overtake() -> None:
    budget, order = Budget(Decimal(2)), list[str]()

    async def call(name: str, amount: Decimal) -> None:
        assert await budget.reserve(amount)
        order.append(name)
        budget.settle(amount, Decimal(0))

    assert await budget.reserve(ONE)
    async with anyio.create_task_group() as group:
        group.start_soon(call, "large", Decimal(2))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(call, "small", ONE)  # would fit now
        await anyio.wait_all_tasks_blocked()
        assert order == []
        budget.settle(ONE, Decimal(0))
    assert order == ["large", "small"]


@pytest.mark.anyio
async def test_a_waiter_is_refused_once_the_money_is_spent() -> None:
    budget, answers = Budget(Decimal(2)), list[bool]()

    async def call() -> None:
        answers.append(await budget.reserve(ONE))

    assert await budget.reserve(Decimal(2))
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        budget.settle(Decimal(2), Decimal("1.5"))
    assert answers == [False, False]


@pytest.mark.anyio
async def test_a_cancelled_waiter_lets_those_behind_it_go() -> None:
    budget, answers = Budget(Decimal(2)), list[bool]()

    async def call() -> None:
        answers.append(await budget.reserve(ONE))

    assert await budget.reserve(ONE)
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(60) as scope:

            async def behind() -> None:
                await anyio.wait_all_tasks_blocked()
                group.start_soon(call)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()

            group.start_soon(behind)
            await budget.reserve(Decimal(2))
    assert answers == [True]
    assert budget.reserved == 2


@pytest.mark.parametrize(("cost", "refused"), [("0", False), ("1", True)])
def test_decided_and_cancelled_at_the_same_moment(cost: str, refused: bool) -> None:
    # Only asyncio's own cancellation reaches a task that has been woken but has not run yet.
    async def main() -> None:
        budget = Budget(ONE)
        assert await budget.reserve(ONE)
        task = asyncio.create_task(budget.reserve(ONE))
        await asyncio.sleep(0)
        budget.settle(ONE, Decimal(cost))
        assert budget.reserved == (0 if refused else 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budget.reserved == 0

    asyncio.run(main())
