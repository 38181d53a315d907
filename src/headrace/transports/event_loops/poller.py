"""One selector for all connections of a transport, one timer for their deadlines, and batched sends."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from selectors import EVENT_READ
from socket import socket
from typing import TYPE_CHECKING

from headrace._support.clock import running_clock
from headrace.policies import BackgroundTasks
from headrace.transports.event_loops.socket_selectors import new_socket_selector

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import EventLoop, Waiter
    from headrace.transports.event_loops.handlers import SocketHandler, TimerHandler

MAX_QUEUED_SENDS = 16
"""How many requests are queued before they are sent together.

Waking the peer process costs more than the rest of a send, and requests that are sent together wake it once.
But no request should wait long for others: without this limit, the mean latency was 3 ms higher.
"""

MAX_SOCKETS_PER_TURN = 16
"""How many sockets are served before the tasks that wait for them run.

With 1,000 requests in flight nearly all sockets may be ready. If all were served at once, the responses would
leave the processor's caches, and the garbage collector would visit them several times, before a task read
them.
"""

MAX_TIMERS_PER_TURN = 64
"""How many timers are handled before the tasks that they wake run."""


class Poller:
    """Watches the sockets of one transport. The event loop sees one file: the selector's own.

    So a socket is registered with the kernel once instead of once per wait, and one turn of the event loop
    serves several sockets. There is one heap entry per socket, and one timer of the event loop for all.
    ``group`` runs the background tasks that trio needs; None means asyncio.
    """

    def __init__(self, group: BackgroundTasks | None) -> None:
        self._selector = new_socket_selector()
        self.closed: bool = False
        self.now: Callable[[], float] = running_clock()
        self._heap: list[tuple[float, int, TimerHandler]] = []
        self._order = itertools.count()
        self._stale = 0
        self._unserved = 0
        self._serving_since = self._served_until = -math.inf
        self._queue: list[tuple[SocketHandler, bytes]] = []
        self._loop: EventLoop = _running_loop(self, group)
        self.new_waiter: Callable[[], Waiter] = self._loop.new_waiter
        self.wake: Callable[[Waiter], None] = self._loop.wake

    def register(self, raw_socket: socket, handler: SocketHandler) -> None:
        """Watch a socket for input."""
        self._selector.add(raw_socket, EVENT_READ, handler)

    def modify(self, raw_socket: socket, handler: SocketHandler, before: int, events: int) -> None:
        """Watch a socket for other ``events`` than ``before``."""
        if not events:
            self._selector.remove(raw_socket)
        elif not before:
            self._selector.add(raw_socket, events, handler)
        else:
            self._selector.modify(raw_socket, events, handler)

    def unregister(self, raw_socket: socket) -> None:
        """Stop watching a socket."""
        self._selector.remove(raw_socket)

    def queue_send(self, handler: SocketHandler, data: bytes) -> None:
        """Send ``data`` together with that of other ready tasks; see `MAX_QUEUED_SENDS`."""
        queue = self._queue
        queue.append((handler, data))
        if len(queue) == 1:
            self._loop.schedule_send()
        elif len(queue) == MAX_QUEUED_SENDS:
            self.send_queued()

    def set_timer(self, when: float, handler: TimerHandler) -> None:
        """Call the handler's ``on_timer`` at ``when``."""
        heapq.heappush(self._heap, (when, next(self._order), handler))
        if self._heap[0][0] == when:
            self._loop.set_timer(when)

    def discard_timer(self) -> None:
        """Count the timer of a closed handler. Such timers are removed once they are half of all."""
        self._stale += 1
        if self._stale > 100 and self._stale > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].closed]
            heapq.heapify(self._heap)
            self._stale = 0

    async def aclose(self) -> None:
        """Stop watching. Tasks that wait for a socket get a `ConnectionAbortedError`."""
        self.closed = True
        for handler in self._selector.handlers():
            handler.on_poller_closed()
        await self._loop.aclose()
        self._selector.close()

    # Called by the event loop; see `LoopCallbacks`.

    def fileno(self) -> int:
        """The file that is readable when a socket is ready."""
        return self._selector.fileno()

    def has_queued(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._queue)

    def on_readable(self) -> None:
        """Serve sockets that are ready. The event loop calls again while more are ready."""
        self._selector.serve(MAX_SOCKETS_PER_TURN)

    def send_queued(self) -> None:
        """Send the queued data of all ready tasks."""
        queue, self._queue = self._queue, []
        for handler, data in queue:
            handler.send_now(data)

    def on_timer(self) -> float | None:
        """Call the handlers of expired timers. Returns the time of the next timer, now if work is left.

        After a blocked event loop, input and timers are due together, and input that arrived in time comes
        first. Neither is handled all at once: with 20,000 requests in flight, other tasks would wait for
        seconds.
        """
        now = self.now()
        upcoming = self._heap[0][0] if self._heap else math.inf
        if not self._unserved and self._served_until < upcoming <= now:
            self._unserved, self._serving_since = max(1, len(self._selector)), now
        if self._unserved:
            served = self._selector.serve(MAX_SOCKETS_PER_TURN)
            self._unserved = max(0, self._unserved - served) if served >= MAX_SOCKETS_PER_TURN else 0
            if self._unserved:
                return now
            self._served_until = self._serving_since
        for _ in range(MAX_TIMERS_PER_TURN):
            if not self._heap or self._heap[0][0] > self._served_until:
                break
            heapq.heappop(self._heap)[2].on_timer(self._served_until)
        return self._heap[0][0] if self._heap else None


def _running_loop(poller: Poller, group: BackgroundTasks | None) -> EventLoop:
    if group is None:
        from headrace.transports.event_loops.asyncio_loop import AsyncioLoop

        return AsyncioLoop(poller)
    from headrace.transports.event_loops.trio_loop import TrioLoop

    return TrioLoop(poller, group)
