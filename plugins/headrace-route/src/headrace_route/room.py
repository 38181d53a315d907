"""Room at endpoints that have no more than so many calls at once, and who waits for it."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias, cast

from anyio import CapacityLimiter, WouldBlock

from headrace import Call, Endpoint, StreamResult
from headrace.plugins import Waiter, WaitingQueue
from headrace_route.choice import has_room

ROOM = "route.room"
"""What the room of a call is called in its notes."""

Wanted: TypeAlias = list[Endpoint]
"""What a call waits for: room at one of these, which then is the only one left in the list."""


class Rooms:
    """How many calls each endpoint has, and the calls that wait until one has room."""

    def __init__(self) -> None:
        self.in_flight: Counter[Endpoint] = Counter()
        self.waiting: WaitingQueue[Wanted] = WaitingQueue()

    async def wait(self, endpoints: list[Endpoint], priority: float) -> Endpoint:
        """Wait for room at one of these, which is taken."""
        waiter = Waiter(list(endpoints), priority)
        await self.waiting.wait(waiter, lambda: self.leave(waiter.wanted[0]))
        return waiter.wanted[0]

    def leave(self, endpoint: Endpoint) -> None:
        """Give room back: to the highest priority, and who came first, so that nobody gets in before."""
        waiter = self.waiting.first()
        if waiter is not None and endpoint not in waiter.wanted:
            waiter = next((each for each in self.waiting if endpoint in each.wanted), None)
        if waiter is None:
            self.in_flight[endpoint] -= 1
        else:
            waiter.wanted[:] = [endpoint]
            self.waiting.serve(waiter)


class Room:
    """A call's room at an endpoint, taken when this is made.

    To the call it is a limiter with one token, its own: so a call that waits further in gives its room back
    along with its other tokens.
    """

    def __init__(self, rooms: Rooms, endpoint: Endpoint, call: Call) -> None:
        self._rooms = rooms
        self._call = call
        self._is_taken = True
        self.endpoint = endpoint

    def leave(self) -> None:
        """Give it back, if it is taken."""
        if self._is_taken:
            self._is_taken = False
            self._rooms.leave(self.endpoint)

    def stream_ended(self, result: StreamResult) -> None:
        """Give it back at the end of a stream."""
        self.leave()

    def as_limiter(self) -> CapacityLimiter:
        """This, as `headrace.Call.acquire` wants it: it has what that needs of a limiter."""
        return cast("CapacityLimiter", self)

    @property
    def borrowed_tokens(self) -> int:
        """How many calls the endpoint has."""
        return self._rooms.in_flight[self.endpoint]

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Take it, if it was given back and there is room; it is free only while nobody waits for it."""
        if not self._is_taken:
            if not has_room(self.endpoint, self._rooms.in_flight[self.endpoint]):
                raise WouldBlock
            self._rooms.in_flight[self.endpoint] += 1
            self._is_taken = True

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Take it again, by the call's priority."""
        await self._rooms.wait([self.endpoint], self._call.priority)
        self._is_taken = True

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give it back."""
        self.leave()
