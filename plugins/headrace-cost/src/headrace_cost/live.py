"""The prices of the installed genai-prices in place of those that come with this package.

The library fetches newer ones where a program asks it to (``with genai_prices.UpdatePrices():``); nothing is
fetched by what is here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import msgspec

from headrace import SettingsError
from headrace_cost.catalogue import Catalogue
from headrace_cost.conversion import catalogue_of


def live_catalogue() -> Callable[[], Catalogue]:
    """What gives the library's list as it is at the time; raises `SettingsError` without the library."""
    if importlib.util.find_spec("genai_prices") is None:
        raise SettingsError("cost: live=true needs genai-prices; install headrace-cost[live]")
    known: tuple[object, Catalogue] | None = None

    def current() -> Catalogue:
        nonlocal known
        from genai_prices.data_snapshot import get_snapshot  # here, for it takes a quarter of a second

        snapshot = get_snapshot()
        if known is None or known[0] is not snapshot:
            content = msgspec.json.encode({"providers": catalogue_of(snapshot.providers)})
            known = snapshot, Catalogue(content)
        return known[1]

    return current
