"""The shared budget as one member knows it: the spending of all, its own, and the reported part of that."""

from __future__ import annotations

import anyio
import attrs

from headrace import BudgetExceeded

NANO = 1_000_000_000
"""Units per USD: integers add up exactly."""


@attrs.define(eq=False)
class SharedBudget:
    """The ``budget`` of all members together, None for no budget. All amounts are in nano-USD."""

    budget: int | None
    _total: int = 0
    _here: int = 0
    _shared: int = 0
    _changed: anyio.Event = attrs.field(factory=anyio.Event)

    @property
    def spent_here(self) -> int:
        """The spending of this member since it began."""
        return self._here

    @property
    def all_shared(self) -> bool:
        """Whether all spending of this member has been reported."""
        return self._shared == self._here

    def spend(self, amount: int) -> None:
        """Count the cost of a call."""
        self._here += amount

    def update(self, shared: int, total: int) -> None:
        """Note that ``shared`` of this member's spending is reported, and that all have spent ``total``."""
        self._shared, self._total = shared, total
        self.notify_waiters()

    def notify_waiters(self) -> None:
        """Wake all tasks in `wait_for_change`."""
        self._changed.set()
        self._changed = anyio.Event()

    def is_shared(self, amount: int) -> bool:
        """Return whether ``amount`` of this member's spending has been reported."""
        return self._shared >= amount

    async def wait_for_change(self) -> None:
        """Wait until spending was reported, or Redis became unavailable."""
        await self._changed.wait()

    def exceeded(self, away: bool, sharers: int) -> BudgetExceeded | None:
        """Return an error if no call may be made, else None; without Redis, by a share of what was left."""
        if self.budget is None:
            return None
        left, unseen = self.budget - self._total, self._here - self._shared
        total = f"{self.budget / NANO:g} USD"
        if away:
            if left > 0 and unseen < left / sharers:
                return None
            return BudgetExceeded(
                "not sent: Redis is unavailable, and this process has spent its share of the rest of the "
                f"shared budget of {total}"
            )
        if left > unseen:
            return None
        spent = (self._total + unseen) / NANO
        return BudgetExceeded(f"not sent: the shared budget of {total} is spent ({spent:g} USD)")
