"""Token prices: rates, compiled so that pricing a reply takes a few integer multiplications."""

from __future__ import annotations

import decimal
import itertools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from headrace import Usage

MONEY = decimal.Context(prec=60)
"""For exact sums: no price list and no run comes near 60 digits. The caller's decimal context is not used,
because its precision may be anything."""

# Bound once, because looking them up takes longer than calling them.
add: Callable[[Decimal, Decimal], Decimal] = MONEY.add
subtract: Callable[[Decimal, Decimal], Decimal] = MONEY.subtract
_multiply: Callable[[int, Decimal], Decimal] = MONEY.multiply

ZERO = Decimal(0)

Rate: TypeAlias = str | Sequence[Any]
"""USD per million tokens: an amount, or the amount for short prompts followed by pairs of a number of prompt
tokens and the amount for longer prompts."""

Rates: TypeAlias = Mapping[str, Rate]
"""Rates by kind of token; ``requests`` is per thousand requests."""

_FALLBACK_KINDS = {
    "cached": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "input_image": "input",
    "output_audio": "output",
    "output_image": "output",
    "reasoning": "output",
}
"""The kind whose rate applies if a kind has no rate; a kind comes after the one that it falls back to."""

RATE_KINDS = frozenset({"input", "output", "requests", *_FALLBACK_KINDS})

_BODY_MARKERS = {
    "cache_write_1h": b'"1h"',
    "input_audio": b"audio",
    "output_audio": b"audio",
    "input_image": b"image",
    "output_image": b"image",
}
"""Text in a request body that can lead to tokens of a kind."""


@attrs.frozen(kw_only=True)
class Price:
    """The price of one model, in integer multiples of ``unit`` USD.

    Attributes:
        unit: USD.
        input: Per prompt token.
        output: Per completion token.
        request: Per call.
        cached: How much more (or less) than ``input`` a cached token costs. The kinds after it are compared
            with ``input`` or ``output`` in the same way.
        has_special_kinds: Whether any of these except ``cached`` is not 0.
        long_prompt_prices: Pairs of a number of prompt tokens and the price of calls with a longer prompt,
            the highest number first.
        valid_until: Unix time from which another price applies.
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
    has_special_kinds: bool = False
    long_prompt_prices: tuple[tuple[int, Price], ...] = ()
    valid_until: float | None = None

    def cost(self, usage: Usage) -> Decimal:
        """What ``usage`` costs in USD; tokens of unreported kinds cost as much as ordinary tokens."""
        prompt = usage.prompt_tokens or 0
        if self.long_prompt_prices:
            for threshold, price in self.long_prompt_prices:
                if prompt > threshold:
                    return price.cost(usage)
        units = prompt * self.input + (usage.completion_tokens or 0) * self.output + self.request
        cached = usage.cached_tokens
        if cached:
            units += min(cached, prompt) * self.cached
        if self.has_special_kinds:
            units += self._special_units(usage, prompt - min(cached or 0, prompt))
        return _multiply(units, self.unit)

    def _special_units(self, usage: Usage, uncached: int) -> int:
        """What special kinds cost more than ordinary tokens; each count is limited to the tokens left."""
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

    def worst_case(self, prompt_tokens: int, output_tokens: int, content: bytes = b"") -> Decimal:
        """The most that a call can cost in USD with at most these tokens and the body ``content``."""
        most = _multiply(self._worst_case_units(prompt_tokens, output_tokens, content), self.unit)
        for threshold, price in self.long_prompt_prices:
            if prompt_tokens > threshold:
                most = max(most, price.worst_case(prompt_tokens, output_tokens, content))
        return most

    def valid_no_longer_than(self, valid_until: float) -> Price:
        """This price, with a `valid_until` that is not later than ``valid_until``."""
        if self.valid_until is not None:
            valid_until = min(valid_until, self.valid_until)
        return attrs.evolve(self, valid_until=valid_until)

    def _worst_case_units(self, prompt_tokens: int, output_tokens: int, content: bytes) -> int:
        extra_input = max(0, self.cached, self.cache_write)
        extra_output = max(0, self.reasoning)
        if self.has_special_kinds:
            for kind, marker in _BODY_MARKERS.items():
                if (rate := getattr(self, kind)) > 0 and marker in content:
                    if _FALLBACK_KINDS[kind] == "output":
                        extra_output = max(extra_output, rate)
                    else:
                        extra_input = max(extra_input, rate)
        return (
            prompt_tokens * (self.input + extra_input)
            + output_tokens * (self.output + extra_output)
            + self.request
        )


def compile_price(rates: Rates, valid_until: float | None = None) -> Price:
    """The price for ``rates``, valid until the Unix time ``valid_until``."""
    amounts = {kind: _amounts(rate) for kind, rate in rates.items()}
    starts = sorted({start for steps in amounts.values() for start in steps if start})
    exponent = min((_exponent(amount) for steps in amounts.values() for amount in steps.values()), default=0)
    prices = [
        _flat_price({kind: _amount_at(steps, start) for kind, steps in amounts.items()}, exponent)
        for start in [0, *starts]
    ]
    long_prompt_prices = tuple(reversed(list(zip(starts, prices[1:], strict=True))))
    return attrs.evolve(prices[0], long_prompt_prices=long_prompt_prices, valid_until=valid_until)


def _flat_price(amounts: Mapping[str, Decimal], exponent: int) -> Price:
    """The price for amounts per million tokens or thousand requests, with at most ``-exponent`` decimals."""
    rates = {kind: int(amount.scaleb(-exponent, MONEY)) for kind, amount in amounts.items()}
    rates.setdefault("input", 0)
    rates.setdefault("output", 0)
    for kind, fallback in _FALLBACK_KINDS.items():
        rates.setdefault(kind, rates[fallback])
    extra: dict[str, Any] = {
        kind: rates[kind] - rates["output" if fallback == "output" else "input"]
        for kind, fallback in _FALLBACK_KINDS.items()
    }
    return Price(
        unit=Decimal(1).scaleb(exponent - 6, MONEY),
        input=rates["input"],
        output=rates["output"],
        request=rates.get("requests", 0) * 1000,
        has_special_kinds=any(rate for kind, rate in extra.items() if kind != "cached"),
        **extra,
    )


def _amounts(rate: Rate) -> dict[int, Decimal]:
    """Amounts by the number of prompt tokens above which they apply."""
    if isinstance(rate, str):
        return {0: Decimal(rate)}
    base, steps = rate[0], rate[1:]
    return {0: Decimal(base)} | {int(step[0]): Decimal(step[1]) for step in steps}


def _amount_at(amounts: Mapping[int, Decimal], start: int) -> Decimal:
    return amounts[max(itertools.takewhile(lambda each: each <= start, sorted(amounts)))]


def _exponent(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    return min(0, exponent)
