"""The prices of the installed genai-prices instead of those in this package.

The library fetches newer prices if a program asks it to (``with genai_prices.UpdatePrices():``). This module
fetches nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import msgspec

from headrace import SettingsError
from headrace_cost.price_catalogue import Catalogue
from headrace_cost.price_conversion import to_catalogue


def live_catalogue() -> Callable[[], Catalogue]:
    """A function that returns the library's current list.

    Raises:
        SettingsError: The library is not installed.
    """
    if importlib.util.find_spec("genai_prices") is None:
        raise SettingsError("cost: live=true needs genai-prices; install headrace-cost[live]")
    known: tuple[object, Catalogue] | None = None

    def current() -> Catalogue:
        nonlocal known
        from genai_prices.data_snapshot import get_snapshot  # slow: it takes a quarter of a second

        snapshot = get_snapshot()
        if known is None or known[0] is not snapshot:
            content = msgspec.json.encode({"providers": to_catalogue(snapshot.providers)})
            known = snapshot, Catalogue(content)
        return known[1]

    return current
