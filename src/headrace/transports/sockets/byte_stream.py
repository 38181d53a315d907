"""Byte streams over TCP or TLS for HTTP/1.1, on either event loop.

The stream layers of asyncio, uvloop, trio and anyio yield to the scheduler, copy data, or make one or two
system calls per send and receive. Under load that is most of a call's time. Here a `Poller` passes arriving
bytes to the parser in a callback, and the task is woken once per response.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from selectors import EVENT_READ
from typing import TypeAlias

from headrace.transports.event_loops.event_loop import Waiter
from headrace.transports.event_loops.poller import Poller
from headrace.transports.sockets.watched_socket import ConnectedSocket, DeadlinePassed, WatchedSocket

_MAX_NOWAIT = 8 * 1024
"""Largest request, in bytes, that a socket without unsent bytes accepts at once."""

Feed: TypeAlias = Callable[[bytes], bool]
"""Takes received bytes, and returns True when it has enough. `ByteStream.receive_into` raises its errors."""


class ByteStream(WatchedSocket):
    """A connected, non-blocking socket, read and written by one task at a time.

    Every failure is an `OSError` (`ssl.SSLError` is one) or `DeadlinePassed`. After an exception or a
    cancellation, the only valid call is `abort`. Deadlines are on the clock of `anyio.current_time`.
    ``max_silence`` is the longest time between two pieces, in seconds.
    """

    __slots__ = (
        "_buffered",
        "_enough",
        "_error",
        "_feed",
        "_max_silence",
        "_sending",
        "_total_deadline",
        "_waiter",
    )

    def __init__(self, connected: ConnectedSocket, poller: Poller) -> None:
        super().__init__(connected, poller)
        self._feed: Feed | None = None
        self._waiter: Waiter | None = None
        self._buffered: deque[bytes] | None = None
        self._enough = self._sending = False
        self._error: Exception | None = None
        self._max_silence: float | None = None
        self._total_deadline = math.inf

    # Called by the pool.

    def send_nowait(self, data: bytes) -> bool:
        """Send data that is small enough to be accepted at once. False: use `send`."""
        if len(data) > _MAX_NOWAIT or self._ended:
            return False
        self._poller.queue_send(self, data)
        return True

    async def send(self, data: bytes, feed: Feed, deadline: float) -> bool:
        """Send all of ``data``, and pass bytes received in the meantime to ``feed``.

        Returns False if not everything was sent, because ``feed`` has enough or the peer accepts no more.
        Bytes that the peer sent before are left for `receive_into`.
        """
        if not self._ended:
            self.send_now(data)
        data = b""  # it holds the key, and some tools show the variables of a traceback
        if self._unsent and not self._ended:
            self._sending = True
            try:
                await self.receive_into(feed, deadline, None)
            finally:
                self._sending = False
        return not self._unsent and not self._ended

    async def receive_into(self, feed: Feed, deadline: float, max_silence: float | None) -> bool:
        """Pass received bytes to ``feed`` until it has enough. False if the peer closes first."""
        while self._buffered:
            if feed(self._buffered.popleft()):
                return True
        if self._ended:
            if self._error is not None:
                raise self._error
            return False
        if not self._events & EVENT_READ:
            self._watch(self._events | EVENT_READ)
        self._feed, self._max_silence, self._total_deadline = feed, max_silence, deadline
        self._enough = False
        self._set_deadline(
            deadline if max_silence is None else min(deadline, self._poller.now() + max_silence)
        )
        waiter = self._waiter = self._poller.new_waiter()
        try:
            await waiter
        finally:
            self._waiter = self._feed = None
        if self._enough:  # later bytes are for the next call
            return True
        if self._error is not None:
            raise self._error
        return False

    def is_usable(self) -> bool:
        """Whether an idle connection can carry a request.

        It cannot if the peer closed it or sent unrequested bytes, or if part of the last request is still
        unsent because the response arrived early.
        """
        return not (self._ended or self._buffered or self._unsent) and self.nothing_received()

    def abort(self) -> None:
        """See `WatchedSocket.abort`."""
        self._feed = None
        super().abort()

    # Called by the poller.

    def on_poller_closed(self) -> None:
        """The transport is closed."""
        self._error = ConnectionAbortedError("this side closed it")
        self._wake()
        self.abort()

    def on_received(self, data: bytes) -> None:
        """See `WatchedSocket.on_received`."""
        feed = self._feed
        if feed is None:
            self._buffer(data)
        elif feed(data):
            self._feed, self._enough = None, True
            self._wake()
        elif self._max_silence is not None:
            self._deadline = min(self._total_deadline, self._poller.now() + self._max_silence)

    def on_disconnected(self, error: Exception | None) -> None:
        """See `WatchedSocket.on_disconnected`."""
        self._error = error
        self._ended = True
        self._feed = None
        self._watch(self._events & ~EVENT_READ)
        self._wake()

    def on_drained(self) -> None:
        """See `WatchedSocket.on_drained`."""
        if self._sending:
            self._wake()

    def on_deadline(self, now: float) -> None:
        """See `WatchedSocket.on_deadline`."""
        self._error, self._ended, self._feed = DeadlinePassed(), True, None
        self._wake()

    def _buffer(self, data: bytes) -> None:
        """Keep bytes that no task waits for. Reading stops after two pieces, to bound the memory."""
        if self._buffered is None:
            self._buffered = deque()
        elif self._buffered:
            self._watch(self._events & ~EVENT_READ)
        self._buffered.append(data)

    def _wake(self) -> None:
        self._deadline = math.inf
        if self._waiter is not None:
            self._poller.wake(self._waiter)
            self._waiter = None
