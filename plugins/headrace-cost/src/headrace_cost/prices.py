"""What a model's tokens cost: the price list, and the rule by which a model is found in it.

A model is looked for under its exact name, then without a date at its end (``-2025-04-14``, ``-20250414``),
then in the same way without what stands before its last slash (``openai/gpt-4.1``). Nothing fuzzier: a
wrong price is worse than none.
"""

from __future__ import annotations

import decimal
import re
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any, TypeVar

import attrs

from headrace import Endpoint, SettingsError, Usage

K = TypeVar("K")

MONEY = decimal.Context(prec=60)
"""Sums of money are exact: no price list and no run comes near 60 digits. Apart from the caller's own
decimal context, whose precision may be anything."""

ZERO = Decimal(0)
_MILLION = -6
_NEEDED = {"input", "output"}
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


@attrs.frozen
class Price:
    """USD a token; ``cached`` for prompt tokens read from the endpoint's cache.

    ``long``: the price of a whole call whose prompt has more than ``over`` tokens, where that differs.
    """

    input: Decimal
    output: Decimal
    cached: Decimal
    long: Price | None = None
    over: int = 0

    def cost(self, usage: Usage) -> Decimal:
        """What ``usage`` costs."""
        prompt = usage.prompt_tokens or 0
        if self.long is not None and prompt > self.over:
            return self.long.cost(usage)
        cost = MONEY.multiply(usage.completion_tokens or 0, self.output)
        cached = min(usage.cached_tokens or 0, prompt)
        if cached:
            cost = MONEY.fma(cached, self.cached, cost)
        return MONEY.fma(prompt - cached, self.input, cost)

    def at_most(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """What a call of at most so many tokens can cost."""
        worst = max(self.input, self.cached)
        cost = MONEY.fma(prompt_tokens, worst, MONEY.multiply(output_tokens, self.output))
        if self.long is not None and prompt_tokens > self.over:
            return max(cost, self.long.at_most(prompt_tokens, output_tokens))
        return cost


class _Found(dict[K, Price | None]):
    """What was looked up; a call does without a function of Python's."""

    def __init__(self, look_up: Callable[[K], Price | None]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, key: K) -> Price | None:
        price = self[key] = self._look_up(key)
        return price


class PriceList:
    """The prices that come with headrace-cost, and the user's own before them."""

    def __init__(self, own: Mapping[str, Mapping[str, Any]]) -> None:
        self._prices = _shipped() | {model: _own(model, entry) for model, entry in own.items()}
        self.find: Callable[[str], Price | None] = _Found(self._look_up).__getitem__
        """The price of a model, None where it is not in the list."""
        self.at: Callable[[tuple[Endpoint, str]], Price | None] = _Found(self._look_up_at).__getitem__
        """The price of a model at an endpoint: its own, that of its name there, or that of its name."""

    def _look_up_at(self, place: tuple[Endpoint, str]) -> Price | None:
        endpoint, model = place
        there = endpoint.name_of(model)
        names = (f"{endpoint.name}/{there}", there, model)
        return next((price for name in names if (price := self.find(name)) is not None), None)

    def _look_up(self, model: str) -> Price | None:
        for name in (model, model.rpartition("/")[2]):
            price = self._prices.get(name) or self._prices.get(_DATE.sub("", name))
            if price is not None:
                return price
        return None


def _shipped() -> dict[str, Price]:
    text = files("headrace_cost").joinpath("prices.toml").read_text(encoding="utf-8")
    return {
        model: _read(entry)
        for source in tomllib.loads(text).values()
        for model, entry in source["models"].items()
    }


def _read(entry: Mapping[str, Any]) -> Price:
    def per_token(amount: Any) -> Decimal:
        return MONEY.scaleb(Decimal(str(amount)), _MILLION)

    long = entry.get("long")
    return Price(
        per_token(entry["input"]),
        per_token(entry["output"]),
        per_token(entry.get("cached", entry["input"])),
        _read(long) if long else None,
        long["over"] if long else 0,
    )


def _own(model: str, entry: Mapping[str, Any]) -> Price:
    where = f"cost: prices: {model!r}"
    if not isinstance(entry, Mapping) or not _NEEDED <= entry.keys() <= _NEEDED | {"cached"}:
        raise SettingsError(f"{where}: needs input and output, and may have cached, in USD a million tokens")
    for kind, amount in entry.items():
        try:
            number = Decimal(str(amount))
        except decimal.InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0:
            raise SettingsError(f"{where}: {kind} = {amount!r}: must be a number of at least 0")
    return _read(entry)
