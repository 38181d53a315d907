"""What executors have in common that make their calls with one client, in this process."""

from __future__ import annotations

from headrace.bulk.call_maps import CallMaps
from headrace.bulk.unfinished_calls import UnfinishedCalls, unfinished_calls
from headrace.client import Client


class ClientExecutor:
    """A base of executors.

    Args:
        client: An open client.
        max_in_flight: Maximum number of calls at once; None for the client's limit.
    """

    def __init__(self, client: Client, max_in_flight: int | None) -> None:
        self._client = client
        self._maps = CallMaps(client, max_in_flight)

    @property
    def in_flight(self) -> int:
        """The number of calls in flight."""
        return self._client.in_flight

    @property
    def max_in_flight(self) -> float:
        """The most calls in flight; it can be set at any time."""
        return self._maps.total

    @max_in_flight.setter
    def max_in_flight(self, total: int) -> None:
        self._maps.total = total

    def pause(self) -> None:
        """Begin no more calls until `resume`; those in flight are finished."""
        self._maps.pause()

    def resume(self) -> None:
        """Begin calls again at once, beside those in flight."""
        self._maps.resume()

    async def unfinished(self) -> UnfinishedCalls:
        """What the calls in flight wait for."""
        return unfinished_calls(self._client)
