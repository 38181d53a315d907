"""A budget that is never overdrawn: each attempt reserves the most it can cost before it is sent.

What is spent and what is reserved together stay within the budget. An attempt that fits beside neither is
refused if it would not fit even when all reservations came back unspent; otherwise it waits, because
attempts cost less than they reserve. Waiters are first in, first out, and no newcomer overtakes them: a
large call does not starve among small ones.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Protocol

import anyio
import attrs

from headrace_cost.rates import ZERO, add, subtract


class Account(Protocol):
    """Where attempts reserve what they may cost, and book what they did cost; all amounts in USD."""

    limit: Decimal

    @property
    def spent(self) -> Decimal:
        """What was booked, and what was spent before."""

    async def reserve(self, amount: Decimal) -> bool:
        """Set ``amount`` aside, if need be once other attempts are settled; False where it can never fit."""

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """Give a reservation of ``amount`` back and book what the attempt cost."""


@attrs.define(eq=False)
class _Waiter:
    amount: Decimal
    decided: anyio.Event = attrs.field(factory=anyio.Event)
    granted: bool = False


class Budget:
    """The `Account` of one process: ``limit`` USD, of which ``spent`` and ``reserved`` are not free."""

    def __init__(self, limit: Decimal) -> None:
        self.limit = limit
        self.spent = ZERO
        self.reserved = ZERO
        self._waiting: deque[_Waiter] = deque()

    def resume(self, spent: Decimal) -> None:
        """Take at least so much as spent: by earlier sessions of a run, or by one of these already."""
        self.spent = max(self.spent, spent)

    async def reserve(self, amount: Decimal) -> bool:
        """See `Account.reserve`."""
        if not self._waiting and self._take(amount):
            return True
        if self._hopeless(amount):
            return False
        waiter = _Waiter(amount)
        self._waiting.append(waiter)
        try:
            await waiter.decided.wait()
        except BaseException:
            # Cancelled: what was granted at the same moment comes back, and whoever stands behind may fit.
            if waiter.granted:
                self.reserved = subtract(self.reserved, amount)
            elif not waiter.decided.is_set():
                self._waiting.remove(waiter)
            self._serve()
            raise
        return waiter.granted

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """See `Account.settle`."""
        self.reserved = subtract(self.reserved, amount)
        self.spent = add(self.spent, cost)
        self._serve()

    def _serve(self) -> None:
        """Decide about waiters from the front, as far as that is possible now.

        The front one always is decided in the end: once nothing is reserved, it fits or is hopeless.
        """
        while self._waiting:
            waiter = self._waiting[0]
            waiter.granted = self._take(waiter.amount)
            if not waiter.granted and not self._hopeless(waiter.amount):
                return
            self._waiting.popleft()
            waiter.decided.set()

    def _take(self, amount: Decimal) -> bool:
        reserved = add(self.reserved, amount)
        if add(self.spent, reserved) > self.limit:
            return False
        self.reserved = reserved
        return True

    def _hopeless(self, amount: Decimal) -> bool:
        return add(self.spent, amount) > self.limit
