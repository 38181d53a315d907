"""Byte streams as the native transport wants them: TCP, and TLS over it, on either event loop.

The layers of asyncio, uvloop, trio and anyio yield to the scheduler, copy, or make a system call or two
for each send and receive; under load that is most of what a call takes. Here a `Poller` gives what comes to
the parser in a callback, and a task is woken once an answer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from selectors import EVENT_READ
from typing import TypeAlias

from headrace.transports.event_loops.event_loop import Waiter
from headrace.transports.event_loops.poller import Poller
from headrace.transports.sockets.watched_socket import Connected, WatchedSocket

_SMALL = 8 * 1024
"""Bytes of a request that go into a socket at once, as long as nothing else is on its way."""

Feed: TypeAlias = Callable[[bytes], bool]
"""Takes bytes that came; True once that is enough for now. What it raises comes out of `Stream.pump`."""


class LimitReached(Exception):
    """The clock reached the time until which a stream was to wait."""


class Stream(WatchedSocket):
    """A connection's two directions, over a connected, non-blocking socket that it owns.

    All that fails does so with `OSError` (ssl.SSLError is one) or `LimitReached`. After an exception or a
    cancellation it is only good for `abort`. ``until`` is on `anyio.current_time`'s clock, ``silence`` the
    most seconds between two pieces.
    """

    __slots__ = (
        "_early",
        "_end",
        "_enough",
        "_error",
        "_feed",
        "_sending",
        "_silence",
        "_waiter",
    )

    def __init__(self, connected: Connected, poller: Poller) -> None:
        super().__init__(connected, poller)
        self._feed: Feed | None = None
        self._waiter: Waiter | None = None
        self._early: deque[bytes] | None = None
        self._enough = self._sending = False
        self._error: Exception | None = None
        self._silence: float | None = None
        self._end = math.inf

    # What the transport calls.

    def send_at_once(self, data: bytes) -> bool:
        """Send what is small enough to be taken at once; False: use `send`."""
        if len(data) > _SMALL or self._ended:
            return False
        self._poller.send_soon(self, data)
        return True

    async def send(self, data: bytes, feed: Feed, until: float) -> bool:
        """Hand all of ``data`` over, and give what comes meanwhile to ``feed``.

        False where less was handed over: what came is enough, or the other side takes no more. What it said
        before that is for `pump`.
        """
        if not self._ended:
            self.send_now(data)
        data = b""  # it holds the key, and there are tools that show a traceback's variables
        if self._rest and not self._ended:
            self._sending = True
            try:
                await self.pump(feed, until, None)
            finally:
                self._sending = False
        return not self._rest and not self._ended

    async def pump(self, feed: Feed, until: float, silence: float | None) -> bool:
        """Give what comes to ``feed`` until that is enough: True; False where the other side ends first."""
        while self._early:
            if feed(self._early.popleft()):
                return True
        if self._ended:
            if self._error is not None:
                raise self._error
            return False
        if not self._events & EVENT_READ:
            self._watch(self._events | EVENT_READ)
        self._feed, self._silence, self._end, self._enough = feed, silence, until, False
        self._limit(until if silence is None else min(until, self._poller.now() + silence))
        waiter = self._waiter = self._poller.new_waiter()
        try:
            await waiter
        finally:
            self._waiter = self._feed = None
        if self._enough:  # whatever came after that is for the next who asks
            return True
        if self._error is not None:
            raise self._error
        return False

    def sound(self) -> bool:
        """For an idle connection: False where the other side closed it, or sent what nobody asked for.

        Nor is one over which a request is still on its way: it was answered before it was read.
        """
        return not (self._ended or self._early or self._rest) and self.nothing_came()

    def abort(self) -> None:
        """See `WatchedSocket.abort`."""
        self._feed = None
        super().abort()

    # What the poller calls.

    def cut_off(self) -> None:
        """The transport is closed."""
        self._error = ConnectionAbortedError("this side closed it")
        self._wake()
        self.abort()

    def received(self, data: bytes) -> None:
        """See `WatchedSocket.received`."""
        feed = self._feed
        if feed is None:
            self._keep(data)
        elif feed(data):
            self._feed, self._enough = None, True
            self._wake()
        elif self._silence is not None:
            self._until = min(self._end, self._poller.now() + self._silence)

    def broken(self, error: Exception | None) -> None:
        """See `WatchedSocket.broken`."""
        self._error = error
        self._ended = True
        self._feed = None
        self._watch(self._events & ~EVENT_READ)
        self._wake()

    def sent_all(self) -> None:
        """See `WatchedSocket.sent_all`."""
        if self._sending:
            self._wake()

    def expired(self, now: float) -> None:
        """See `WatchedSocket.expired`."""
        self._error, self._ended, self._feed = LimitReached(), True, None
        self._wake()

    def _keep(self, data: bytes) -> None:
        """Bytes that nobody waits for yet; let no server fill this process's memory with them."""
        if self._early is None:
            self._early = deque()
        elif self._early:
            self._watch(self._events & ~EVENT_READ)
        self._early.append(data)

    def _wake(self) -> None:
        self._until = math.inf
        if self._waiter is not None:
            self._poller.wake(self._waiter)
            self._waiter = None
