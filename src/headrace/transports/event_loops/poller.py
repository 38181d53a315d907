"""One poll for all connections of a transport, one alarm for their limits, requests that leave together."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from selectors import EVENT_READ
from socket import socket
from typing import TYPE_CHECKING, Protocol

from headrace._support.clock import running_clock
from headrace.policies import BackgroundTasks
from headrace.transports.event_loops.socket_selectors import new_poll

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import Loop, Waiter
    from headrace.transports.sockets.watched_socket import WatchedSocket

MOST_TOGETHER = 16
"""Requests that are gathered before they are sent.

Those that leave together wake the other side once, where each by itself would: as measured, that takes more
time than all the rest of a send. But none should wait for long until others are ready.
"""

MOST_SERVED = 16
"""Sockets that are served before the tasks that wait for them have a turn.

With 1,000 in flight nearly all may be ready. If all were served together, their answers would leave the
processor's caches, and the garbage collector would look at them again and again, before anybody read them.
"""


class Timed(Protocol):
    """What has a limit in time."""

    closed: bool

    def ring(self, now: float, /) -> None:
        """A timer that was set has ended."""


class Poller:
    """Watches the sockets of one transport for an event loop, which sees of them one file, the poll's own.

    So a socket is made known to the kernel once and not for each wait, and a turn of the event loop serves
    several sockets. It has a heap entry for each socket, and one timer of the loop for all.
    ``group`` is what trio needs for it; with None the loop is asyncio's.
    """

    def __init__(self, group: BackgroundTasks | None) -> None:
        self._poll = new_poll()
        self.closed = False
        self.now: Callable[[], float] = running_clock()
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = itertools.count()
        self._stale = 0
        self._outgoing: list[tuple[WatchedSocket, bytes]] = []
        self._loop: Loop = _running_loop(self, group)
        self.new_waiter: Callable[[], Waiter] = self._loop.new_waiter
        self.wake: Callable[[Waiter], None] = self._loop.wake

    def fileno(self) -> int:
        """The file that is readable when a socket is ready."""
        return self._poll.fileno()

    def register(self, raw_socket: socket, watched: WatchedSocket) -> None:
        """Watch a socket for what comes."""
        self._poll.add(raw_socket, EVENT_READ, watched)

    def watch(self, raw_socket: socket, watched: WatchedSocket, before: int, events: int) -> None:
        """Watch a socket for other ``events`` than ``before``."""
        if not events:
            self._poll.remove(raw_socket)
        elif not before:
            self._poll.add(raw_socket, events, watched)
        else:
            self._poll.change(raw_socket, events, watched)

    def unregister(self, raw_socket: socket) -> None:
        """Watch a socket no more."""
        self._poll.remove(raw_socket)

    def send_soon(self, watched: WatchedSocket, data: bytes) -> None:
        """Send together with what other tasks that are ready send; see `MOST_TOGETHER`."""
        outgoing = self._outgoing
        outgoing.append((watched, data))
        if len(outgoing) == 1:
            self._loop.send_after_ready_tasks()
        elif len(outgoing) == MOST_TOGETHER:
            self.send_all()

    def set_timer(self, when: float, timed: Timed) -> None:
        """Have ``timed`` rung at ``when``."""
        heapq.heappush(self._heap, (when, next(self._order), timed))
        if self._heap[0][0] == when:
            self._loop.alarm_at(when)

    def forget_timer(self) -> None:
        """One of those that have a timer is closed; once they are the half of all, they are let go."""
        self._stale += 1
        if self._stale > 100 and self._stale > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].closed]
            heapq.heapify(self._heap)
            self._stale = 0

    async def aclose(self) -> None:
        """Watch no more; tasks that wait for one of the sockets get a `ConnectionAbortedError`."""
        self.closed = True
        for watched in self._poll.watched():
            watched.cut_off()
        await self._loop.aclose()
        self._poll.close()

    # What the event loop calls.

    @property
    def has_outgoing(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing)

    def serve(self) -> None:
        """Serve sockets that are ready; the event loop calls again while there are others."""
        self._poll.serve(MOST_SERVED)

    def send_all(self) -> None:
        """Send what tasks that were ready had to send."""
        outgoing, self._outgoing = self._outgoing, []
        for watched, data in outgoing:
            watched.send_now(data)

    def ring(self) -> float | None:
        """Ring for all whose time has come; returns when the next one's will."""
        # A loop that was blocked finds both at once, and what has come in time has come in time.
        self._poll.serve()
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2].ring(now)
        return self._heap[0][0] if self._heap else None


def _running_loop(poller: Poller, group: BackgroundTasks | None) -> Loop:
    if group is None:
        from headrace.transports.event_loops.asyncio_loop import AsyncioLoop

        return AsyncioLoop(poller)
    from headrace.transports.event_loops.trio_loop import TrioLoop

    return TrioLoop(poller, group)
