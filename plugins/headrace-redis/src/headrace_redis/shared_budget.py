"""The shared budget as one member knows it: spent by all, spent here, and what of that is told."""

from __future__ import annotations

import anyio
import attrs

from headrace import BudgetExceeded

NANO = 1_000_000_000
"""Units in a USD: whole numbers add up exactly."""


@attrs.define(eq=False)
class Purse:
    """``budget``: of all together, None for no budget. All amounts are in nano-USD."""

    budget: int | None
    _by_all: int = 0
    _here: int = 0
    _told: int = 0
    _news: anyio.Event = attrs.field(factory=anyio.Event)

    @property
    def spent_here(self) -> int:
        """What this member has spent since it began."""
        return self._here

    @property
    def all_told(self) -> bool:
        """Whether the others know of all that was spent here."""
        return self._told == self._here

    def spend(self, amount: int) -> None:
        """Count what a call cost."""
        self._here += amount

    def told(self, here: int, by_all: int) -> None:
        """Note that the others know of ``here`` spent here; all together have spent ``by_all``."""
        self._told, self._by_all = here, by_all
        self.stir()

    def stir(self) -> None:
        """Have all that wait for `news` look again."""
        self._news.set()
        self._news = anyio.Event()

    def knows(self, amount: int) -> bool:
        """Whether the others know that so much was spent here."""
        return self._told >= amount

    async def news(self) -> None:
        """Wait until something was told, or cannot be."""
        await self._news.wait()

    def exceeded(self, away: bool, sharers: int) -> BudgetExceeded | None:
        """Why no call may be made, None where one may; while Redis is away, by a share of what was left."""
        if self.budget is None:
            return None
        left, unseen = self.budget - self._by_all, self._here - self._told
        total = f"{self.budget / NANO:g} USD"
        if away:
            if left > 0 and unseen < left / sharers:
                return None
            return BudgetExceeded(
                "not sent: Redis is away, and this process has spent its share of the rest of the shared "
                f"budget of {total}"
            )
        if left > unseen:
            return None
        spent = (self._by_all + unseen) / NANO
        return BudgetExceeded(f"not sent: the shared budget of {total} is spent ({spent:g} USD)")
