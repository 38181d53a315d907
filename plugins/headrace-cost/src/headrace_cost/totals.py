"""What calls used and cost, summed up."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import attrs

from headrace import Usage
from headrace_cost.rates import ZERO, add

OTHERS = "(others)"
"""The name of the tally of all that has none of its own."""

_MOST_TALLIES = 1000


@attrs.define(eq=False)
class Tally:
    """Calls counted, the tokens of all their attempts that were answered, and what these cost in USD.

    ``cached_tokens`` are part of ``prompt_tokens``. ``unpriced`` counts the calls whose cost is unknown and
    therefore not in ``cost``. ``uncertain`` counts the calls with attempts that may have been billed though
    their answer did not come or does not say, for at most ``possible_cost``, which is not in ``cost``.
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
    """Tallies by name, made when they are asked for; from the thousandth name on, all others have one."""

    def __missing__(self, name: str) -> Tally:
        if len(self) >= _MOST_TALLIES:
            name = OTHERS
        return self.setdefault(name, Tally())


@attrs.define(eq=False)
class Totals:
    """The tallies of a run by model, and by tag under ``key=value``; its own figures are sums over models.

    With more than a thousand models or tags, the later ones are counted together, as ``(others)``.
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
        """Count one call; not without a model, for then nothing is paid by the token."""
        if model is None:
            return
        self.by_model[model].add(usage, cost, possible)
        if tags:  # hardly ever; its items are a mapping's, which take four calls to be none
            for key, value in tags.items():
                self.by_tag[f"{key}={value}"].add(usage, cost, possible)

    @property
    def calls(self) -> int:
        """Calls that were answered, or have something to pay."""
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
        """What they cost in USD, as far as that is known."""
        return self._sum([tally.cost for tally in self.by_model.values()])

    @property
    def unpriced(self) -> int:
        """Calls whose cost is unknown."""
        return sum(tally.unpriced for tally in self.by_model.values())

    @property
    def uncertain(self) -> int:
        """Calls with attempts that may have been billed."""
        return sum(tally.uncertain for tally in self.by_model.values())

    @property
    def possible_cost(self) -> Decimal:
        """What those attempts cost at most, in USD."""
        return self._sum([tally.possible_cost for tally in self.by_model.values()])

    @staticmethod
    def _sum(amounts: list[Decimal]) -> Decimal:
        total = ZERO
        for amount in amounts:
            total = add(total, amount)
        return total
