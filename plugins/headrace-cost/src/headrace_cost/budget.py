"""A budget that is never overdrawn: each attempt reserves the most it can cost before it is sent.

The sum of spent and reserved amounts never exceeds the budget. An attempt that would not fit even if nothing
were reserved is refused. One that does not fit now waits, because attempts cost less than they reserve.
Waiters are served by priority, then first in, first out. No attempt of the same or a lower priority overtakes
them, so a large call does not starve among small ones.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol, Self

from headrace.plugins import Waiter, WaitingQueue
from headrace_cost.token_rates import ZERO, add, subtract


class BudgetAccount(Protocol):
    """Where attempts reserve what they may cost, and record what they did cost; all amounts are in USD."""

    limit: Decimal

    @property
    def spent(self) -> Decimal:
        """The cost recorded so far, including earlier sessions of the run."""

    def reserve_nowait(self, amount: Decimal, priority: float = 0) -> bool | None:
        """Reserve ``amount``; False if it can never fit, None if it may fit later."""

    async def reserve(self, amount: Decimal, priority: float = 0) -> bool:
        """Wait until ``amount`` fits, and reserve it; False if it can never fit."""

    def reserve_always(self, amount: Decimal) -> None:
        """Reserve an ``amount`` that is already owed, even if it does not fit."""

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """Release a reservation of ``amount`` and record the attempt's ``cost``."""

    def change_limit(self, limit: Decimal) -> None:
        """Change the limit; attempts that wait are decided anew."""

    def successor(self) -> Self:
        """The account for a new event loop; amounts reserved in this account count as spent in it.

        The attempts of the ended loop have unknown costs. An attempt that ends later settles with this
        account, which is not read any more.
        """


def precedes_waiters(waiting: WaitingQueue[Decimal], amount: Decimal, priority: float) -> bool:
    """Whether an attempt may reserve before those that wait; one that costs nothing may."""
    first = waiting.first()
    return first is None or first.priority < priority or not amount


class _NeverFitsError(Exception):
    """Refuses a waiter."""


class LocalBudget:
    """The `BudgetAccount` of one process.

    Args:
        limit: USD.
        spent: USD of it that are spent already.
    """

    def __init__(self, limit: Decimal, spent: Decimal = ZERO) -> None:
        self.limit: Decimal = limit
        self.spent: Decimal = spent
        self.reserved: Decimal = ZERO
        self._waiting: WaitingQueue[Decimal] = WaitingQueue()

    def resume(self, spent: Decimal) -> None:
        """Count at least ``spent`` USD as spent, by all sessions of the run so far."""
        self.spent = max(self.spent, spent)

    def change_limit(self, limit: Decimal) -> None:
        """See `BudgetAccount.change_limit`."""
        self.limit = limit
        self._wake_waiters()

    def successor(self) -> LocalBudget:
        """See `BudgetAccount.successor`."""
        return LocalBudget(self.limit, add(self.spent, self.reserved))

    def reserve_nowait(self, amount: Decimal, priority: float = 0) -> bool | None:
        """See `BudgetAccount.reserve_nowait`."""
        if precedes_waiters(self._waiting, amount, priority) and self._try_reserve(amount):
            return True
        return False if self._can_never_fit(amount) else None

    async def reserve(self, amount: Decimal, priority: float = 0) -> bool:
        """See `BudgetAccount.reserve`."""
        granted = self.reserve_nowait(amount, priority)
        if granted is not None:
            return granted
        waiter = Waiter(amount, priority)
        try:
            await self._waiting.wait(waiter, lambda: self.settle(amount, ZERO))
        except _NeverFitsError:
            return False
        except BaseException:
            self._wake_waiters()  # the next one may fit
            raise
        return True

    def reserve_always(self, amount: Decimal) -> None:
        """See `BudgetAccount.reserve_always`."""
        self.reserved = add(self.reserved, amount)

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """See `BudgetAccount.settle`."""
        self.reserved = subtract(self.reserved, amount)
        self.spent = add(self.spent, cost)
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        """Grant or refuse waiters from the front, as far as possible.

        Each waiter is decided in the end: once nothing is reserved, it fits or can never fit.
        """
        while (waiter := self._waiting.first()) is not None:
            if self._try_reserve(waiter.wanted):
                self._waiting.serve(waiter)
            elif self._can_never_fit(waiter.wanted):
                self._waiting.serve(waiter, _NeverFitsError())
            else:
                return

    def _try_reserve(self, amount: Decimal) -> bool:
        reserved = add(self.reserved, amount)
        if add(self.spent, reserved) > self.limit:
            return False
        self.reserved = reserved
        return True

    def _can_never_fit(self, amount: Decimal) -> bool:
        return add(self.spent, amount) > self.limit
