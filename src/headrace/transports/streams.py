"""Byte streams as the native transport wants them; one file for each way to have one.

All fail with `OSError` (ssl.SSLError is one) or `LimitReached` and nothing else, and all can tell, without
waiting, whether an idle connection is still sound.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, TypeAlias

MAX_READ = 64 * 1024

MOST_TOGETHER = 16
"""Requests that are gathered before they are sent.

Those that leave together wake the other side once, where each by itself would: as measured, that takes more
time than all the rest of a send. But none should wait for long until others are ready.
"""

Feed: TypeAlias = Callable[[bytes], bool]
"""Takes bytes that came; True once that is enough for now. What it raises comes out of `Stream.pump`."""


class LimitReached(Exception):
    """The clock reached the time until which a stream was to wait."""


class Stream(Protocol):
    """A connection's two directions. After an exception or a cancellation it is only good for `abort`.

    ``until`` is on `anyio.current_time`'s clock, ``silence`` the most seconds between two pieces.
    """

    async def send(self, data: bytes, until: float) -> None:
        """Hand all of ``data`` over."""

    async def pump(self, feed: Feed, until: float, silence: float | None) -> bool:
        """Give what comes to ``feed`` until that is enough: True; False where the other side ends first."""

    def sound(self) -> bool:
        """For an idle connection: False where the other side closed it, or sent what nobody asked for."""

    def abort(self) -> None:
        """Close at once, without a word to the other side; again does nothing."""


class Streams(Protocol):
    """What makes the streams of one transport on the event loop that it runs on."""

    async def over(self, raw_socket: socket.socket, context: ssl.SSLContext | None, host: str) -> Stream:
        """A stream over a connected, non-blocking socket; with ``context``, after a TLS handshake."""

    async def aclose(self) -> None:
        """No more streams are needed."""


class Timed:
    """A limit in time for whoever waits on a stream, at the price of a comparison.

    A cancel scope for each wait would take a third of a call's time, most of it for setting a timer and
    taking it back. Here a timer that was set is left to ring; then it is looked at whether there is still
    something to end, and when to look again. One timer a connection, of the kind that the subclass has.
    """

    __slots__ = ("_rings_at", "_until")

    def __init__(self) -> None:
        self._rings_at = math.inf
        self._until = math.inf

    def _limit(self, until: float) -> None:
        """Call `_expire` once the clock reaches ``until``, unless another limit is set before."""
        self._until = until
        if until < self._rings_at:
            self._rings_at = until
            self._set_timer(until)

    def ring(self, now: float) -> None:
        """What the timer calls."""
        if now < self._rings_at:
            return  # one that was set before an earlier one
        self._rings_at = math.inf
        if now >= self._until:
            self._until = math.inf
            self._expire()
        elif self._until < math.inf:
            self._limit(self._until)

    def _set_timer(self, when: float) -> None:
        raise NotImplementedError

    def _expire(self) -> None:
        raise NotImplementedError


class Probe:
    """Asks the kernel whether anything has come over a socket, its end included."""

    __slots__ = ("_poll",)

    def __init__(self, raw_socket: socket.socket) -> None:
        poll = select.poll()
        poll.register(raw_socket.fileno(), select.POLLIN | select.POLLPRI)
        self._poll = poll.poll

    def silent(self) -> bool:
        """True where nothing has come."""
        return not self._poll(0)
