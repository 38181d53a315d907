"""What calls used and cost, summed up."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import attrs

from headrace import Usage
from headrace_cost.prices import MONEY, ZERO

_NOTHING = Usage()


@attrs.define(eq=False)
class Tally:
    """Replies counted, their tokens, and what they cost in USD.

    ``cached_tokens`` are part of ``prompt_tokens``; ``unpriced`` counts the calls whose cost is unknown and
    therefore not in ``cost``.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    unpriced: int = 0

    def add(self, usage: Usage | None, cost: Decimal | None) -> None:
        """Count one reply."""
        usage = usage or _NOTHING
        self.calls += 1
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.cached_tokens += usage.cached_tokens or 0
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = MONEY.add(self.cost, cost)


@attrs.define(eq=False)
class Totals:
    """The tallies of a run by model, and by tag under ``key=value``; its own figures are sums over models."""

    by_model: defaultdict[str, Tally] = attrs.field(factory=lambda: defaultdict(Tally))
    by_tag: defaultdict[str, Tally] = attrs.field(factory=lambda: defaultdict(Tally))

    @property
    def calls(self) -> int:
        """Replies counted."""
        return sum(tally.calls for tally in self.by_model.values())

    @property
    def prompt_tokens(self) -> int:
        """Tokens of their prompts."""
        return sum(tally.prompt_tokens for tally in self.by_model.values())

    @property
    def completion_tokens(self) -> int:
        """Tokens of their answers."""
        return sum(tally.completion_tokens for tally in self.by_model.values())

    @property
    def cached_tokens(self) -> int:
        """Of the prompts' tokens, those read from the endpoint's cache."""
        return sum(tally.cached_tokens for tally in self.by_model.values())

    @property
    def cost(self) -> Decimal:
        """What they cost in USD."""
        total = ZERO
        for tally in self.by_model.values():
            total = MONEY.add(total, tally.cost)
        return total

    @property
    def unpriced(self) -> int:
        """Replies whose cost is unknown."""
        return sum(tally.unpriced for tally in self.by_model.values())
