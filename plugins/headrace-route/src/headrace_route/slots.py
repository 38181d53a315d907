"""Slots of endpoints with a limit of concurrent calls, and the queue of calls that wait for one."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias, cast

from anyio import CapacityLimiter, WouldBlock

from headrace import Call, Endpoint, StreamResult
from headrace.plugins import Waiter, WaitingQueue
from headrace_route.selection import has_capacity

SLOT_NOTE = "route.slot"
"""The key of a call's slot in its notes."""

WantedEndpoints: TypeAlias = list[Endpoint]
"""The endpoints whose slots a waiting call accepts; when it is served, the list holds the one it got."""


class EndpointSlots:
    """The calls in flight at each endpoint, and the calls that wait for a slot."""

    def __init__(self) -> None:
        self.in_flight: Counter[Endpoint] = Counter()
        self.waiting: WaitingQueue[WantedEndpoints] = WaitingQueue()

    async def acquire(self, endpoints: list[Endpoint], priority: float) -> Endpoint:
        """Wait for a slot at one of these endpoints, take it, and return the endpoint."""
        waiter = Waiter(list(endpoints), priority)
        await self.waiting.wait(waiter, lambda: self.release(waiter.wanted[0]))
        return waiter.wanted[0]

    def release(self, endpoint: Endpoint) -> None:
        """Free a slot; the first waiter by priority and arrival gets it directly, so no call overtakes."""
        waiter = self.waiting.first()
        if waiter is not None and endpoint not in waiter.wanted:
            waiter = next((each for each in self.waiting if endpoint in each.wanted), None)
        if waiter is None:
            self.in_flight[endpoint] -= 1
        else:
            waiter.wanted[:] = [endpoint]
            self.waiting.serve(waiter)


class EndpointSlot:
    """A call's slot at an endpoint, already taken when this object is made.

    The call treats it as a limiter with one token. So a call that waits in an inner policy releases its slot
    together with its other tokens.
    """

    def __init__(self, slots: EndpointSlots, endpoint: Endpoint, call: Call) -> None:
        self._slots = slots
        self._call = call
        self._is_held = True
        self.endpoint = endpoint

    def release(self) -> None:
        """Release the slot, if it is held."""
        if self._is_held:
            self._is_held = False
            self._slots.release(self.endpoint)

    def stream_ended(self, result: StreamResult) -> None:
        """Release the slot at the end of a stream."""
        self.release()

    def as_limiter(self) -> CapacityLimiter:
        """Return this object as `headrace.Call.acquire` expects it; it has the methods that are used."""
        return cast("CapacityLimiter", self)

    @property
    def borrowed_tokens(self) -> int:
        """Calls in flight at the endpoint."""
        return self._slots.in_flight[self.endpoint]

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Take the slot again if it was released and one is free; none is free while calls wait."""
        if not self._is_held:
            if not has_capacity(self.endpoint, self._slots.in_flight[self.endpoint]):
                raise WouldBlock
            self._slots.in_flight[self.endpoint] += 1
            self._is_held = True

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Take the slot again, waiting by the call's priority."""
        await self._slots.acquire([self.endpoint], self._call.priority)
        self._is_held = True

    def release_on_behalf_of(self, borrower: object) -> None:
        """Release the slot."""
        self.release()
