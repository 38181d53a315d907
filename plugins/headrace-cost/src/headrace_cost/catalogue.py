"""The price list of genai-prices, as ``prices.json`` has it: by an endpoint's URL and a model's name.

Its rules are followed, not written anew: providers are known by their URLs, models by rules of their names,
prices by dates, times of day and service tiers. Only what is asked for is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec

from headrace_cost.rates import Price, Rate, compiled

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class _Entry(msgspec.Struct, gc=False):
    """Rates and when they hold: always, ``since`` a date, or ``daily`` between two times, all in UTC."""

    rates: dict[str, Any] | None
    since: str | None = None
    daily: tuple[str, str] | None = None
    tier: str | None = None

    def holds(self, now: datetime) -> bool:
        if self.since is not None:
            return now.date().isoformat() >= self.since
        if self.daily is not None:
            start, end = map(time.fromisoformat, self.daily)
            at = now.time()
            return start <= at < end if start <= end else (at >= start or at < end)
        return True

    def changes(self, now: datetime) -> Iterable[datetime]:
        """When this begins or ends to hold next."""
        if self.since is not None:
            begin = datetime.fromisoformat(self.since).replace(tzinfo=UTC)
            if begin > now:
                yield begin
        for each in self.daily or ():
            at = datetime.combine(now.date(), time.fromisoformat(each), UTC)
            yield at if at > now else at + timedelta(days=1)


class _Model(msgspec.Struct, gc=False):
    match: list[Any]
    prices: list[_Entry]
    tiers: list[_Entry] = []

    def price(self, tier: str | None, now: datetime) -> Price | None:
        """The price at a time; None for what is billed by something that no usage counts."""
        standard = next((each for each in reversed(self.prices) if each.holds(now)), self.prices[0])
        of_tier = [each for each in self.tiers if each.tier == tier] if tier is not None else []
        merged: dict[str, Rate] = {}
        for entry in [*(each for each in of_tier if each.holds(now)), standard]:
            if entry.rates is None:
                return None
            merged = entry.rates | merged
        changes = [change for each in [*self.prices, *of_tier] for change in each.changes(now)]
        return compiled(merged, min(changes).timestamp() if changes else None)


class _Provider(msgspec.Struct):
    id: str
    url: str
    models: msgspec.Raw
    makes: list[Any] | None = None
    called: list[Any] | None = None
    resells: list[str] = []


class _File(msgspec.Struct):
    providers: list[_Provider]


_read_file = msgspec.json.Decoder(_File).decode
_read_models = msgspec.json.Decoder(list[_Model]).decode


class Catalogue:
    """Prices by endpoint and model."""

    def __init__(self, content: bytes) -> None:
        self._providers = _read_file(content).providers
        self._by_id = {provider.id: provider for provider in self._providers}
        self._models: dict[str, list[_Model]] = {}

    def price(self, url: str, name: str, tier: str | None, now: datetime) -> Price | None:
        """The price of the model that has this ``name`` at the endpoint of a base URL, None if not listed.

        Where the URL belongs to no known provider (a proxy, your own server), the price is that of the
        provider that the name begins with (``openai/gpt-4.1``), else that of the maker of the model.
        """
        name = name.lower()
        prefix, _, rest = name.partition("/")
        named = self._called(prefix) if rest else None
        provider = next((each for each in self._providers if re.match(each.url, url)), None)
        if provider is not None:
            found = self._find(provider, name)
            if found is None and named is not None:
                found = self._find(provider, rest)
        elif named is not None:
            found = self._find(named, rest) or self._find(named, name)
        else:
            maker = next((each for each in self._providers if each.makes and matches(each.makes, name)), None)
            found = None if maker is None else self._find(maker, name)
        if found is None:
            return None
        model, own = found
        return model.price(tier if own else None, now)

    def _called(self, name: str) -> _Provider | None:
        """The provider of this name."""
        if name in self._by_id:
            return self._by_id[name]
        return next((each for each in self._providers if each.called and matches(each.called, name)), None)

    def _find(self, provider: _Provider, name: str) -> tuple[_Model, bool] | None:
        """A provider's model, and whether it is its own; a dated name may mean its family."""
        for written in dict.fromkeys((name, _COMPACT_DATE.sub(r"-\1-\2-\3", name), _DATE.sub("", name))):
            for seller in (provider, *map(self._by_id.get, provider.resells)):
                for model in () if seller is None else self._models_of(seller):
                    if matches(model.match, written):
                        return model, seller is provider
        return None

    def _models_of(self, provider: _Provider) -> list[_Model]:
        models = self._models.get(provider.id)
        if models is None:
            models = self._models[provider.id] = _read_models(provider.models)
        return models


def matches(clause: list[Any], text: str) -> bool:
    """Whether a text in lower case is what a clause is for."""
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
