"""Totals of what calls used and cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import attrs

from headrace import Usage
from headrace_cost.token_rates import ZERO, add

OTHERS = "(others)"
"""The name of the tally for all names without their own."""

_MAX_TALLIES = 1000


@attrs.define(eq=False)
class Tally:
    """Number of calls, and the tokens and cost of all their attempts that were answered.

    Attributes:
        calls: Calls counted.
        prompt_tokens: Tokens of the prompts.
        completion_tokens: Tokens of the answers.
        cached_tokens: Prompt tokens that the endpoint read from its cache; part of ``prompt_tokens``.
        cost: USD, as far as known.
        unpriced: Calls of unknown cost, which is not in ``cost``.
        uncertain: Calls with attempts that may have been billed although their cost is unknown.
        possible_cost: USD that these attempts cost at most; not in ``cost``.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    unpriced: int = 0
    uncertain: int = 0
    possible_cost: Decimal = ZERO

    def add(self, usage: Usage | None, cost: Decimal | None, possible: Decimal | None = None) -> None:
        """Count one call."""
        self.calls += 1
        if usage is not None:
            if usage.prompt_tokens:
                self.prompt_tokens += usage.prompt_tokens
            if usage.completion_tokens:
                self.completion_tokens += usage.completion_tokens
            if usage.cached_tokens:
                self.cached_tokens += usage.cached_tokens
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = add(self.cost, cost)
        if possible is not None:
            self.uncertain += 1
            self.possible_cost = add(self.possible_cost, possible)


class Tallies(dict[str, Tally]):
    """Tallies by name, created at first use; after a thousand names, all further names share one tally."""

    def __missing__(self, name: str) -> Tally:
        if len(self) >= _MAX_TALLIES:
            name = OTHERS
        return self.setdefault(name, Tally())


@attrs.define(eq=False)
class Totals:
    """The tallies by model, and by tag under ``key=value``; the totals are sums over models.

    After a thousand models or tags, further ones are counted together as ``(others)``.
    """

    by_model: Tallies = attrs.field(factory=Tallies)
    by_tag: Tallies = attrs.field(factory=Tallies)

    def add(
        self,
        tags: Mapping[str, str],
        model: str | None,
        usage: Usage | None,
        cost: Decimal | None,
        possible: Decimal | None,
    ) -> None:
        """Count one call, unless it has no model: such calls are not paid by tokens."""
        if model is None:
            return
        self.by_model[model].add(usage, cost, possible)
        if tags:  # most calls have none, and iterating over an empty Mapping is slow
            for key, value in tags.items():
                self.by_tag[f"{key}={value}"].add(usage, cost, possible)

    @property
    def calls(self) -> int:
        """Calls that were answered or have a cost."""
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
        """Prompt tokens read from the endpoint's cache."""
        return sum(tally.cached_tokens for tally in self.by_model.values())

    @property
    def cost(self) -> Decimal:
        """Their cost in USD, as far as known."""
        return self._sum([tally.cost for tally in self.by_model.values()])

    @property
    def unpriced(self) -> int:
        """Calls whose cost is unknown."""
        return sum(tally.unpriced for tally in self.by_model.values())

    @property
    def uncertain(self) -> int:
        """Calls with attempts that may have been billed although their cost is unknown."""
        return sum(tally.uncertain for tally in self.by_model.values())

    @property
    def possible_cost(self) -> Decimal:
        """USD that these attempts cost at most."""
        return self._sum([tally.possible_cost for tally in self.by_model.values()])

    @staticmethod
    def _sum(amounts: list[Decimal]) -> Decimal:
        total = ZERO
        for amount in amounts:
            total = add(total, amount)
        return total
