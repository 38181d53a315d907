"""A budget that is set, changed and lifted while calls are made."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from headrace import BudgetExceeded, Client, Reply, SettingsError
from headrace.bulk import AdjustableLimits
from headrace.testing import FakeEndpoint
from headrace_cost import Cost

pytestmark = pytest.mark.anyio
PRICES = {"fake-model": {"input": "0", "output": "100"}}
PRICE = Decimal("0.0005")
"""Five tokens."""


class HeldEndpoint(FakeEndpoint):
    """An endpoint whose answers wait until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = anyio.Event()

    async def _answer(self, step: Any, call: Any) -> Reply:
        await self.released.wait()
        return await super()._answer(step, call)


async def ask(client: Client, tokens: int = 5) -> None:
    await client.chat("x", max_tokens=tokens)


async def test_a_first_budget_counts_what_was_spent_before() -> None:
    cost = Cost(prices=PRICES)
    async with FakeEndpoint().client([cost]) as client:
        cost.resume(Decimal("0.001"))
        for _ in range(3):
            await ask(client)
        assert isinstance(cost, AdjustableLimits)
        assert cost.adjustable_limits() == {"budget": None}
        cost.set_limit("budget", "0.003")
        assert cost.spent == Decimal("0.001") + 3 * PRICE
        await ask(client)
        with pytest.raises(BudgetExceeded, match=r"of the budget of 0\.003 USD"):
            await ask(client, 11)
        cost.set_limit("budget", None)
        await ask(client, 11)
        assert cost.adjustable_limits() == {"budget": None}
        cost.set_limit("budget", 1)
        assert cost.spent == Decimal("0.001") + 5 * PRICE
        assert cost.adjustable_limits() == {"budget": "1"}


async def test_calls_that_wait_follow_a_raised_budget() -> None:
    cost, endpoint = Cost(prices=PRICES, budget="0.0007"), HeldEndpoint()
    async with endpoint.client([cost]) as client, anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(ask, client)
        await anyio.wait_all_tasks_blocked()
        assert endpoint.in_flight == 1
        cost.set_limit("budget", "0.002")
        await anyio.wait_all_tasks_blocked()
        assert endpoint.in_flight == 2
        endpoint.released.set()
    assert cost.spent == 2 * PRICE


async def test_an_attempt_on_the_wire_counts_when_a_budget_is_set_first() -> None:
    cost, endpoint = Cost(prices=PRICES), HeldEndpoint()
    async with endpoint.client([cost]) as client, anyio.create_task_group() as group:
        group.start_soon(ask, client)
        await anyio.wait_all_tasks_blocked()
        cost.set_limit("budget", 1)
        endpoint.released.set()
    assert cost.spent == PRICE


@pytest.mark.parametrize("value", ["much", "-1", "nan", True])
async def test_what_is_no_amount_changes_nothing(value: object) -> None:
    cost = Cost(prices=PRICES, budget=2)
    with pytest.raises(SettingsError):
        cost.set_limit("budget", value)  # type: ignore[arg-type]
    assert cost.adjustable_limits() == {"budget": "2"}


async def test_batches_that_were_begun_without_a_budget_get_none() -> None:
    cost = Cost(prices=PRICES)
    cost.batch_prices()
    with pytest.raises(SettingsError, match="was begun without a budget"):
        cost.set_limit("budget", 1)
