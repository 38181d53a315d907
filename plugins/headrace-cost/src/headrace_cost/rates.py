"""What tokens cost: rates, compiled so that a reply is priced with a few multiplications of whole numbers."""

from __future__ import annotations

import decimal
import itertools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from headrace import Usage

MONEY = decimal.Context(prec=60)
"""Sums of money are exact: no price list and no run comes near 60 digits. Apart from the caller's own
decimal context, whose precision may be anything."""

# Bound once: to look them up in a context takes longer than they do.
add: Callable[[Decimal, Decimal], Decimal] = MONEY.add
subtract: Callable[[Decimal, Decimal], Decimal] = MONEY.subtract
_multiply: Callable[[int, Decimal], Decimal] = MONEY.multiply

ZERO = Decimal(0)

Rate: TypeAlias = str | Sequence[Any]
"""USD a million: an amount; or that for short prompts, then pairs of a number of prompt tokens and the amount
for prompts of more than these."""

Rates: TypeAlias = Mapping[str, Rate]
"""Rates by kind of token; ``requests`` is for a thousand of these."""

_PARENTS = {
    "cached": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "input_image": "input",
    "output_audio": "output",
    "output_image": "output",
    "reasoning": "output",
}
"""Tokens of a kind without a rate of its own are billed as these."""

KINDS = frozenset({"input", "output", "requests", *_PARENTS})

_MARKS = {
    "cache_write_1h": b'"1h"',
    "input_audio": b"audio",
    "output_audio": b"audio",
    "input_image": b"image",
    "output_image": b"image",
}
"""What a request holds that can lead to tokens of a kind."""


@attrs.frozen(kw_only=True)
class Price:
    """What calls of one model cost, in whole multiples of ``unit`` USD.

    ``input`` and ``output`` are for a token, ``request`` for a call; the others say how much more or less
    than those a token of their kind costs. ``special`` is True where there are others than ``cached``.
    ``longer`` are the prices of a whole call whose prompt has more than so many tokens, the highest number
    first. From the Unix time ``until`` on, another price holds.
    """

    unit: Decimal
    input: int
    output: int
    request: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_image: int = 0
    output_audio: int = 0
    output_image: int = 0
    reasoning: int = 0
    special: bool = False
    longer: tuple[tuple[int, Price], ...] = ()
    until: float | None = None

    def cost(self, usage: Usage) -> Decimal:
        """What ``usage`` costs in USD. Tokens of kinds that are not reported count as ordinary ones."""
        prompt = usage.prompt_tokens or 0
        if self.longer:
            for over, price in self.longer:
                if prompt > over:
                    return price.cost(usage)
        units = prompt * self.input + (usage.completion_tokens or 0) * self.output + self.request
        cached = usage.cached_tokens
        if cached:
            units += min(cached, prompt) * self.cached
        if self.special:
            units += self._special(usage, prompt - min(cached or 0, prompt))
        return _multiply(units, self.unit)

    def _special(self, usage: Usage, uncached: int) -> int:
        """What kinds cost more than ordinary tokens; of each so many at most as there are tokens left."""
        units = 0
        for count, rate in (
            (usage.cache_write_1h_tokens, self.cache_write_1h),
            (usage.cache_write_tokens, self.cache_write),
            (usage.prompt_audio_tokens, self.input_audio),
            (usage.prompt_image_tokens, self.input_image),
        ):
            if count:
                count = min(count, uncached)
                uncached -= count
                units += count * rate
        output = usage.completion_tokens or 0
        for count, rate in (
            (usage.completion_audio_tokens, self.output_audio),
            (usage.completion_image_tokens, self.output_image),
            (usage.reasoning_tokens, self.reasoning),
        ):
            if count:
                count = min(count, output)
                output -= count
                units += count * rate
        return units

    def at_most(self, prompt_tokens: int, output_tokens: int, content: bytes = b"") -> Decimal:
        """The most that a call of at most so many tokens can cost in USD; ``content`` is its body."""
        most = _multiply(self._most(prompt_tokens, output_tokens, content), self.unit)
        for over, price in self.longer:
            if prompt_tokens > over:
                most = max(most, price.at_most(prompt_tokens, output_tokens, content))
        return most

    def until_then(self, until: float) -> Price:
        """This price, to be looked up again at ``until`` at the latest."""
        return attrs.evolve(self, until=until if self.until is None else min(until, self.until))

    def _most(self, prompt_tokens: int, output_tokens: int, content: bytes) -> int:
        more = max(0, self.cached, self.cache_write)
        more_output = max(0, self.reasoning)
        if self.special:
            for kind, mark in _MARKS.items():
                if (rate := getattr(self, kind)) > 0 and mark in content:
                    if _PARENTS[kind] == "output":
                        more_output = max(more_output, rate)
                    else:
                        more = max(more, rate)
        return (
            prompt_tokens * (self.input + more) + output_tokens * (self.output + more_output) + self.request
        )


def compiled(rates: Rates, until: float | None = None) -> Price:
    """The price that rates say, valid ``until`` then (Unix time)."""
    amounts = {kind: _amounts(rate) for kind, rate in rates.items()}
    starts = sorted({start for steps in amounts.values() for start in steps if start})
    exponent = min((_exponent(amount) for steps in amounts.values() for amount in steps.values()), default=0)
    prices = [
        _flat({kind: _at(steps, start) for kind, steps in amounts.items()}, exponent)
        for start in [0, *starts]
    ]
    longer = tuple(reversed(list(zip(starts, prices[1:], strict=True))))
    return attrs.evolve(prices[0], longer=longer, until=until)


def _flat(amounts: Mapping[str, Decimal], exponent: int) -> Price:
    """The price of amounts a million tokens, or a thousand requests, of at most ``-exponent`` digits."""
    rates = {kind: int(amount.scaleb(-exponent, MONEY)) for kind, amount in amounts.items()}
    rates.setdefault("input", 0)
    rates.setdefault("output", 0)
    for kind, parent in _PARENTS.items():  # a parent comes before what has it
        rates.setdefault(kind, rates[parent])
    extra: dict[str, Any] = {
        kind: rates[kind] - rates["output" if parent == "output" else "input"]
        for kind, parent in _PARENTS.items()
    }
    return Price(
        unit=Decimal(1).scaleb(exponent - 6, MONEY),
        input=rates["input"],
        output=rates["output"],
        request=rates.get("requests", 0) * 1000,
        special=any(rate for kind, rate in extra.items() if kind != "cached"),
        **extra,
    )


def _amounts(rate: Rate) -> dict[int, Decimal]:
    """Amounts by the number of prompt tokens above which they hold."""
    if isinstance(rate, str):
        return {0: Decimal(rate)}
    base, steps = rate[0], rate[1:]
    return {0: Decimal(base)} | {int(step[0]): Decimal(step[1]) for step in steps}


def _at(amounts: Mapping[int, Decimal], start: int) -> Decimal:
    return amounts[max(itertools.takewhile(lambda each: each <= start, sorted(amounts)))]


def _exponent(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    return min(0, exponent)
