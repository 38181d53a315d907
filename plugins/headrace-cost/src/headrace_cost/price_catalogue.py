"""The price list of genai-prices in ``prices.json``: prices by an endpoint's URL and a model's name.

It follows the rules of genai-prices: providers are found by URL, models by rules for their names, and prices
by date, time of day and service tier. A provider's models are decoded at the first lookup. The library itself
is not imported, because that takes a quarter of a second; the file loads in about a millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec

from headrace_cost.token_rates import Price, Rate, compile_price

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class _PriceEntry(msgspec.Struct, gc=False):
    """Rates, and when they apply: always, ``since`` a date, or ``daily`` between two times, all in UTC."""

    rates: dict[str, Any] | None
    since: str | None = None
    daily: tuple[str, str] | None = None
    tier: str | None = None

    def applies(self, now: datetime) -> bool:
        if self.since is not None:
            return now.date().isoformat() >= self.since
        if self.daily is not None:
            start, end = map(time.fromisoformat, self.daily)
            at = now.time()
            return start <= at < end if start <= end else (at >= start or at < end)
        return True

    def next_changes(self, now: datetime) -> Iterable[datetime]:
        """The next times at which this starts or stops to apply."""
        if self.since is not None:
            begin = datetime.fromisoformat(self.since).replace(tzinfo=UTC)
            if begin > now:
                yield begin
        for each in self.daily or ():
            at = datetime.combine(now.date(), time.fromisoformat(each), UTC)
            yield at if at > now else at + timedelta(days=1)


class _CatalogueModel(msgspec.Struct, gc=False):
    """A model: the clause that its names match, its prices, and those of its service tiers."""

    match: list[Any]
    prices: list[_PriceEntry]
    tiers: list[_PriceEntry] = []

    def price(self, tier: str | None, now: datetime) -> Price | None:
        """The price at a time; None if it is billed by a unit that no usage counts."""
        standard = next((each for each in reversed(self.prices) if each.applies(now)), self.prices[0])
        of_tier = [each for each in self.tiers if each.tier == tier] if tier is not None else []
        merged: dict[str, Rate] = {}
        for entry in [*(each for each in of_tier if each.applies(now)), standard]:
            if entry.rates is None:
                return None
            merged = entry.rates | merged
        changes = [change for each in [*self.prices, *of_tier] for change in each.next_changes(now)]
        return compile_price(merged, min(changes).timestamp() if changes else None)


class _CatalogueProvider(msgspec.Struct):
    """A provider, and its models as undecoded JSON.

    ``makes`` is the clause for models that it makes, ``called`` the clause for its names, and ``resells`` are
    the ids of providers whose models it sells.
    """

    id: str
    url: str
    models: msgspec.Raw
    makes: list[Any] | None = None
    called: list[Any] | None = None
    resells: list[str] = []


class _CatalogueFile(msgspec.Struct):
    providers: list[_CatalogueProvider]


_read_file = msgspec.json.Decoder(_CatalogueFile).decode
_read_models = msgspec.json.Decoder(list[_CatalogueModel]).decode


class Catalogue:
    """Prices by endpoint and model.

    Args:
        content: The JSON of ``prices.json``.
    """

    def __init__(self, content: bytes) -> None:
        self._providers = _read_file(content).providers
        self._by_id = {provider.id: provider for provider in self._providers}
        self._models: dict[str, list[_CatalogueModel]] = {}

    def price(self, url: str, name: str, tier: str | None, now: datetime) -> Price | None:
        """The price of a model at an endpoint, None if it is not listed.

        If the URL belongs to no known provider (a proxy, your own server), the price is that of the provider
        with which the name begins (``openai/gpt-4.1``), or else that of the model's maker.

        Args:
            url: The endpoint's base URL.
            name: The model's name there.
            tier: The service tier, None for the default one.
            now: The time at which the price must apply.
        """
        name = name.lower()
        prefix, _, rest = name.partition("/")
        named = self._provider_named(prefix) if rest else None
        provider = next((each for each in self._providers if re.match(each.url, url)), None)
        if provider is not None:
            found = self._find_model(provider, name)
            if found is None and named is not None:
                found = self._find_model(provider, rest)
        elif named is not None:
            found = self._find_model(named, rest) or self._find_model(named, name)
        else:
            maker = next((each for each in self._providers if each.makes and matches(each.makes, name)), None)
            found = None if maker is None else self._find_model(maker, name)
        if found is None:
            return None
        model, is_own = found
        return model.price(tier if is_own else None, now)

    def _provider_named(self, name: str) -> _CatalogueProvider | None:
        """The provider with this id or name."""
        if name in self._by_id:
            return self._by_id[name]
        return next((each for each in self._providers if each.called and matches(each.called, name)), None)

    def _find_model(self, provider: _CatalogueProvider, name: str) -> tuple[_CatalogueModel, bool] | None:
        """A provider's model and whether it is its own, not resold; a dated name may match its family."""
        for candidate in dict.fromkeys((name, _COMPACT_DATE.sub(r"-\1-\2-\3", name), _DATE.sub("", name))):
            for seller in (provider, *map(self._by_id.get, provider.resells)):
                for model in () if seller is None else self._models_of(seller):
                    if matches(model.match, candidate):
                        return model, seller is provider
        return None

    def _models_of(self, provider: _CatalogueProvider) -> list[_CatalogueModel]:
        models = self._models.get(provider.id)
        if models is None:
            models = self._models[provider.id] = _read_models(provider.models)
        return models


def matches(clause: list[Any], text: str) -> bool:
    """Whether a text in lower case matches a clause."""
    kind, *values = clause
    if kind == "or":
        return any(matches(each, text) for each in values)
    if kind == "and":
        return all(matches(each, text) for each in values)
    value: str = values[0]
    if kind == "equals":
        return text == value
    if kind == "starts_with":
        return text.startswith(value)
    if kind == "ends_with":
        return text.endswith(value)
    if kind == "contains":
        return value in text
    return re.search(value, text) is not None  # "regex"
