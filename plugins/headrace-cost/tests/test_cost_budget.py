"""The local budget: reservations, their order, and calls that are cancelled while they wait."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import anyio
import pytest

from headrace_cost.budget import LocalBudget

ONE_USD = Decimal(1)


@pytest.mark.anyio
async def test_amount_that_fits_is_reserved_at_once() -> None:
    budget = LocalBudget(Decimal(2))
    assert await budget.reserve(ONE_USD)
    assert await budget.reserve(ONE_USD)
    assert (budget.spent, budget.reserved) == (Decimal(0), Decimal(2))


@pytest.mark.anyio
async def test_amount_that_can_never_fit_is_refused_at_once() -> None:
    budget = LocalBudget(Decimal(2))
    assert not await budget.reserve(Decimal("2.01"))
    assert await budget.reserve(ONE_USD)
    budget.settle(ONE_USD, Decimal("1.5"))
    assert not await budget.reserve(ONE_USD)
    assert await budget.reserve(Decimal("0.5"))


@pytest.mark.anyio
async def test_waiters_of_a_budget_are_fifo() -> None:
    budget, order = LocalBudget(Decimal(2)), list[str]()

    async def call(name: str, amount: Decimal) -> None:
        assert await budget.reserve(amount)
        order.append(name)

    assert await budget.reserve(Decimal(2))
    async with anyio.create_task_group() as group:
        for name in ("first", "second", "third"):
            group.start_soon(call, name, ONE_USD)
            await anyio.wait_all_tasks_blocked()
        assert order == []
        for expected in (["first"], ["first", "second"]):
            budget.settle(ONE_USD, Decimal(0))
            await anyio.wait_all_tasks_blocked()
            assert order == expected
        budget.settle(ONE_USD, ONE_USD)  # spent, so nothing is free
        await anyio.wait_all_tasks_blocked()
        assert order == ["first", "second"]
        budget.settle(ONE_USD, Decimal(0))
    assert order == ["first", "second", "third"]


@pytest.mark.anyio
async def test_later_attempt_does_not_overtake_a_waiter() -> None:
    budget, order = LocalBudget(Decimal(2)), list[str]()

    async def call(name: str, amount: Decimal) -> None:
        assert await budget.reserve(amount)
        order.append(name)
        budget.settle(amount, Decimal(0))

    assert await budget.reserve(ONE_USD)
    async with anyio.create_task_group() as group:
        group.start_soon(call, "large", Decimal(2))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(call, "small", ONE_USD)  # would fit now
        await anyio.wait_all_tasks_blocked()
        assert order == []
        budget.settle(ONE_USD, Decimal(0))
    assert order == ["large", "small"]


@pytest.mark.anyio
async def test_waiter_is_refused_once_the_budget_is_spent() -> None:
    budget, answers = LocalBudget(Decimal(2)), list[bool]()

    async def call() -> None:
        answers.append(await budget.reserve(ONE_USD))

    assert await budget.reserve(Decimal(2))
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        budget.settle(Decimal(2), Decimal("1.5"))
    assert answers == [False, False]


@pytest.mark.anyio
async def test_cancelled_waiter_does_not_block_later_ones() -> None:
    budget, answers = LocalBudget(Decimal(2)), list[bool]()

    async def call() -> None:
        answers.append(await budget.reserve(ONE_USD))

    assert await budget.reserve(ONE_USD)
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
def test_waiter_cancelled_after_its_grant_reserves_nothing(cost: str, refused: bool) -> None:
    # Only asyncio's own cancellation reaches a task that has been woken but has not run yet.
    async def main() -> None:
        budget = LocalBudget(ONE_USD)
        assert await budget.reserve(ONE_USD)
        task = asyncio.create_task(budget.reserve(ONE_USD))
        await asyncio.sleep(0)
        budget.settle(ONE_USD, Decimal(cost))
        assert budget.reserved == (0 if refused else 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budget.reserved == 0

    asyncio.run(main())
