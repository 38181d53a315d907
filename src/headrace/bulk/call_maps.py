"""The maps of an executor: how many calls may be in flight, and which are cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.client import Client
from headrace.client.map import OutcomeStream
from headrace.errors import SettingsError


class CallMaps:
    """Makes the maps of an executor, and changes them while they run.

    Args:
        client: An open client.
        max_in_flight: Maximum number of calls at once; None for the client's limit.
    """

    def __init__(self, client: Client, max_in_flight: int | None) -> None:
        self._client = client
        self._own = max_in_flight
        self._map: OutcomeStream[Any] | None = None
        self._paused = False

    def map(self, items: Any) -> OutcomeStream[Any]:
        """A map over the items of a pass."""
        self._map = self._client.map(items, max_in_flight=self._own)
        if self._paused:
            self._map.pause()
        return self._map

    def pause(self) -> None:
        """Begin no more calls until `resume`."""
        self._paused = True
        if self._map is not None:
            self._map.pause()

    def resume(self) -> None:
        """Begin calls again."""
        self._paused = False
        if self._map is not None:
            self._map.resume()

    async def cancel(self, chosen: Callable[[Any], bool]) -> None:
        """Cancel the calls of chosen items that are in flight."""
        if self._map is not None:
            await self._map.cancel(chosen)

    @property
    def total(self) -> float:
        """The most calls at once."""
        return self._client.limiter.total_tokens if self._own is None else self._own

    @total.setter
    def total(self, total: int) -> None:
        limiter = self._client.limiter
        if self._own is None:
            limiter.total_tokens = total
            return
        if total > limiter.total_tokens:
            raise SettingsError(
                f"the client of this run allows {limiter.total_tokens} calls at once, and may have other "
                "calls; set its limiter.total_tokens"
            )
        self._own = total
        if self._map is not None:
            self._map.limiter.total_tokens = total
