"""A budget that is never overdrawn: each attempt reserves the most it can cost before it is sent.

What is spent and what is reserved together stay within the budget. An attempt that fits beside neither is
refused if it would not fit even when all reservations came back unspent; otherwise it waits, because
attempts cost less than they reserve. Waiters are served by priority, then first in, first out, and none of
the same or a lower priority overtakes them: a large call does not starve among small ones.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol, Self

from headrace.plugins import Waiter, WaitingQueue
from headrace_cost.rates import ZERO, add, subtract


class Account(Protocol):
    """Where attempts reserve what they may cost, and book what they did cost; all amounts in USD."""

    limit: Decimal

    @property
    def spent(self) -> Decimal:
        """What was booked, and what was spent before."""

    def reserve_nowait(self, amount: Decimal, priority: float = 0) -> bool | None:
        """Set ``amount`` aside; False where it can never fit, None where it may once others are settled."""

    async def reserve(self, amount: Decimal, priority: float = 0) -> bool:
        """Set ``amount`` aside once it fits; False where it can never fit."""

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """Give a reservation of ``amount`` back and book what the attempt cost."""

    def successor(self) -> Self:
        """The account that takes this one's place: what was reserved here is spent there.

        For when the event loop has ended: nobody knows what its attempts did cost. Those that end even later
        settle with this one, which nobody reads any more.
        """


def goes_first(waiting: WaitingQueue[Decimal], amount: Decimal, priority: float) -> bool:
    """Whether an attempt may reserve before those that wait: what costs nothing takes nothing from them."""
    first = waiting.first()
    return first is None or first.priority < priority or not amount


class _NeverFitsError(Exception):
    """What a waiter is refused with."""


class Budget:
    """The `Account` of one process: ``limit`` USD, of which ``spent`` and ``reserved`` are not free."""

    def __init__(self, limit: Decimal, spent: Decimal = ZERO) -> None:
        self.limit = limit
        self.spent: Decimal = spent
        self.reserved: Decimal = ZERO
        self._waiting: WaitingQueue[Decimal] = WaitingQueue()

    def resume(self, spent: Decimal) -> None:
        """Take at least so much as spent: by earlier sessions of a run, or by one of these already."""
        self.spent = max(self.spent, spent)

    def successor(self) -> Budget:
        """See `Account.successor`."""
        return Budget(self.limit, add(self.spent, self.reserved))

    def reserve_nowait(self, amount: Decimal, priority: float = 0) -> bool | None:
        """See `Account.reserve_nowait`."""
        if goes_first(self._waiting, amount, priority) and self._take(amount):
            return True
        return False if self._hopeless(amount) else None

    async def reserve(self, amount: Decimal, priority: float = 0) -> bool:
        """See `Account.reserve`."""
        granted = self.reserve_nowait(amount, priority)
        if granted is not None:
            return granted
        waiter = Waiter(amount, priority)
        try:
            await self._waiting.wait(waiter, lambda: self.settle(amount, ZERO))
        except _NeverFitsError:
            return False
        except BaseException:
            self._serve()  # the next one may fit
            raise
        return True

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """See `Account.settle`."""
        self.reserved = subtract(self.reserved, amount)
        self.spent = add(self.spent, cost)
        self._serve()

    def _serve(self) -> None:
        """Decide about waiters from the front, as far as that is possible now.

        The front one always is decided in the end: once nothing is reserved, it fits or is hopeless.
        """
        while (waiter := self._waiting.first()) is not None:
            if self._take(waiter.wanted):
                self._waiting.serve(waiter)
            elif self._hopeless(waiter.wanted):
                self._waiting.serve(waiter, _NeverFitsError())
            else:
                return

    def _take(self, amount: Decimal) -> bool:
        reserved = add(self.reserved, amount)
        if add(self.spent, reserved) > self.limit:
            return False
        self.reserved = reserved
        return True

    def _hopeless(self, amount: Decimal) -> bool:
        return add(self.spent, amount) > self.limit
