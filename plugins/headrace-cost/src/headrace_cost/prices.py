"""The prices of models at endpoints: the user's own, then those that the published list has.

Own prices go by name: that of the model at the endpoint, alone or after the endpoint's (``ENDPOINT/MODEL``),
then the one that the request says; each also without a date at its end (``-2025-04-14``, ``-20250414``) and
without what stands before its last slash (``openai/gpt-4.1``).
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
from headrace_cost.catalogue import Catalogue
from headrace_cost.rates import KINDS, Price, compiled

_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")

_SIMULATED = {"deepseek-v3.2": compiled({"input": "0.42", "output": "1.20"})}
"""What the models of an endpoint that headrace itself simulates are taken to cost."""

_MOST = 4096
"""Prices remembered; more models than that nobody has, but a request may name any."""

_REFRESH = 60.0
"""Seconds for which a price of the live list is taken to hold."""

Place: TypeAlias = tuple[Endpoint, str, str | None]
"""An endpoint, a model, and a service tier."""


class _Found(dict[Place, Price | None]):
    """What was looked up; a call does without a function of Python's."""

    def __init__(self, look_up: Callable[[Place], Price | None]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, place: Place) -> Price | None:
        if len(self) >= _MOST:
            self.clear()
        price = self[place] = self._look_up(place)
        return price


class PriceList:
    """Prices by endpoint, model and service tier.

    Args:
        own: Prices in USD a million tokens, by model; see `headrace_cost.Cost`.
        catalogue: Gives the list that is asked after those, each time that a price is looked up.
        refreshed: Whether that list may change, so that no price of it is remembered for long.
    """

    def __init__(
        self,
        own: Mapping[str, Mapping[str, Any]],
        catalogue: Callable[[], Catalogue] | None = None,
        refreshed: bool = False,
    ) -> None:
        self._own = {model: _own(model, entry) for model, entry in own.items()}
        self._catalogue = catalogue or shipped
        self._refreshed = refreshed
        self._found = _Found(self._look_up)

    def at(self, place: Place) -> Price | None:
        """The price of a model at an endpoint now, None where it is not known."""
        price = self._found[place]
        if price is not None and price.until is not None and time.time() >= price.until:
            del self._found[place]
            return self._found[place]
        return price

    def _look_up(self, place: Place) -> Price | None:
        endpoint, model, tier = place
        there = endpoint.name_of(model)
        for name in (f"{endpoint.name}/{there}", there, model):
            price = self._own_price(name)
            if price is not None:
                return price
        if there in _SIMULATED and _may_be_simulated(endpoint.base_url):
            return _SIMULATED[there]
        now, catalogue = datetime.now(UTC), self._catalogue()
        for name in dict.fromkeys((there, model)):
            price = catalogue.price(endpoint.base_url, name, tier, now)
            if price is not None:
                return price.until_then(now.timestamp() + _REFRESH) if self._refreshed else price
        return None

    def _own_price(self, model: str) -> Price | None:
        for name in (model, model.rpartition("/")[2]):
            price = self._own.get(name) or self._own.get(_DATE.sub("", name))
            if price is not None:
                return price
        return None


@functools.cache
def shipped() -> Catalogue:
    """The list that comes with this package, read when the first price is asked for."""
    return Catalogue(files("headrace_cost").joinpath("prices.json").read_bytes())


def _may_be_simulated(url: str) -> bool:
    """Whether the endpoint is on this machine, or nowhere (RFC 2606), as that of ``headrace simulate`` is."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".invalid"))


def _own(model: str, entry: Mapping[str, Any]) -> Price:
    where = f"cost: prices: {model!r}"
    if not isinstance(entry, Mapping) or not {"input", "output"} <= entry.keys():
        raise SettingsError(f"{where}: needs input and output, in USD a million tokens")
    for kind, amount in entry.items():
        if kind not in KINDS:
            raise SettingsError(f"{where}: unknown kind {kind!r}; {nearest(str(kind), KINDS)}")
        try:
            number = Decimal(str(amount))
        except decimal.InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0:
            raise SettingsError(f"{where}: {kind} = {amount!r}: must be a number of at least 0")
    return compiled({kind: str(amount) for kind, amount in entry.items()})
