"""The prices of models at endpoints: the user's own prices, then those of the published list.

The user's price is looked up by ``ENDPOINT/MODEL`` and ``MODEL``, with the model's name at the endpoint, then
by the model's name in the request. Each name is also tried without a date at its end (``-2025-04-14``,
``-20250414``), and without everything before its last slash (``openai/gpt-4.1``).
"""

from __future__ import annotations

import decimal
import functools
import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from headrace import Endpoint, SettingsError
from headrace.plugins import nearest
from headrace_cost.price_catalogue import Catalogue
from headrace_cost.token_rates import RATE_KINDS, Price, compile_price

_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")

_SIMULATED_PRICES = {"deepseek-v3.2": compile_price({"input": "0.42", "output": "1.20"})}
"""Prices of the models of headrace's simulated endpoint."""

_MAX_CACHED = 4096
"""Prices that are cached; a bound is needed because a request may name any model."""

_REFRESH_INTERVAL = 60.0
"""Seconds for which a price of the live list is cached."""

PriceKey: TypeAlias = tuple[Endpoint, str, str | None]
"""An endpoint, a model and a service tier."""


class _PriceCache(dict[PriceKey, Price | None]):
    """Prices by key; a dict with ``__missing__``, so that a hit calls no Python function."""

    def __init__(self, look_up: Callable[[PriceKey], Price | None]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, key: PriceKey) -> Price | None:
        if len(self) >= _MAX_CACHED:
            self.clear()
        price = self[key] = self._look_up(key)
        return price


class PriceList:
    """Prices by endpoint, model and service tier.

    Args:
        own: The user's prices in USD per million tokens, by model; see `headrace_cost.Cost`.
        catalogue: Returns the published list for a lookup (default: the list in this package).
        refreshed: Whether that list may change, so that its prices are cached only for a short time.
    """

    def __init__(
        self,
        own: Mapping[str, Mapping[str, Any]],
        catalogue: Callable[[], Catalogue] | None = None,
        refreshed: bool = False,
    ) -> None:
        self._own = {model: _parse_own_price(model, entry) for model, entry in own.items()}
        self._catalogue = catalogue or packaged_catalogue
        self._refreshed = refreshed
        self._cache = _PriceCache(self._look_up)

    def find(self, key: PriceKey) -> Price | None:
        """The current price of a model at an endpoint, None if unknown."""
        price = self._cache[key]
        if price is not None and price.valid_until is not None and time.time() >= price.valid_until:
            del self._cache[key]
            return self._cache[key]
        return price

    def _look_up(self, key: PriceKey) -> Price | None:
        endpoint, model, tier = key
        own_name = endpoint.name_of(model)
        for name in (f"{endpoint.name}/{own_name}", own_name, model):
            price = self._own_price(name)
            if price is not None:
                return price
        if own_name in _SIMULATED_PRICES and _may_be_simulated(endpoint.base_url):
            return _SIMULATED_PRICES[own_name]
        now, catalogue = datetime.now(UTC), self._catalogue()
        for name in dict.fromkeys((own_name, model)):
            price = catalogue.price(endpoint.base_url, name, tier, now)
            if price is not None:
                if self._refreshed:
                    price = price.valid_no_longer_than(now.timestamp() + _REFRESH_INTERVAL)
                return price
        return None

    def _own_price(self, model: str) -> Price | None:
        for name in (model, model.rpartition("/")[2]):
            price = self._own.get(name) or self._own.get(_DATE.sub("", name))
            if price is not None:
                return price
        return None


@functools.cache
def packaged_catalogue() -> Catalogue:
    """The list in this package; it is read at the first lookup."""
    return Catalogue(files("headrace_cost").joinpath("prices.json").read_bytes())


def _may_be_simulated(url: str) -> bool:
    """Whether a URL is local or has a reserved name (RFC 2606), like the one of ``headrace simulate``."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".invalid"))


def _parse_own_price(model: str, entry: Mapping[str, Any]) -> Price:
    """The price in one entry of the setting ``prices``; raises `SettingsError`."""
    where = f"cost: prices: {model!r}"
    if not isinstance(entry, Mapping) or not {"input", "output"} <= entry.keys():
        raise SettingsError(f"{where}: needs input and output, in USD per million tokens")
    for kind, amount in entry.items():
        if kind not in RATE_KINDS:
            raise SettingsError(f"{where}: unknown kind {kind!r}; {nearest(str(kind), RATE_KINDS)}")
        try:
            number = Decimal(str(amount))
        except decimal.InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0:
            raise SettingsError(f"{where}: {kind} = {amount!r}: must be a number of at least 0")
    return compile_price({kind: str(amount) for kind, amount in entry.items()})


def no_price_message(model: str, endpoint: Endpoint) -> str:
    """Why a cost is unknown, and how to add a price."""
    return (
        f"model {model!r} has no price at {endpoint.name}; add one: [cost.prices.{model!r}] input = …, "
        "output = … (USD per million tokens)"
    )
