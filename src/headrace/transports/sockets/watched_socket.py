"""A connected socket as a `Poller` watches it: what streams and connections of HTTP/2 have in common."""

from __future__ import annotations

import math
import select
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE
from socket import socket
from typing import TYPE_CHECKING, NamedTuple

from headrace.transports.sockets.tls_session import HTTP1, TlsSession

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller

MAX_READ = 16 * 1024
"""Bytes that are read at a time; the tasks whose answers are in them have their turn before more are read.

With 1,000 calls in flight on ten connections of HTTP/2, four times as much cost 77 µs a call in place of 58:
what the answers are made of was out of the processor's caches before anybody looked at it.
"""

_NOTHING = memoryview(b"")


class Connected(NamedTuple):
    """A connected socket, the TLS over it, and the protocol that is spoken."""

    raw_socket: socket
    tls: TlsSession | None = None
    protocol: str = HTTP1


class WatchedSocket:
    """A connected, non-blocking socket that it owns, its unsent bytes, and one limit in time.

    Each wait compares its limit with the timer that is set already. A cancel scope for each would take a
    third of a call's time, most of it for setting a timer and taking it back. A timer that ends too early
    is set again.

    Raises `OSError` where the poller cannot watch the socket; the socket is the caller's then.
    """

    __slots__ = (
        "_ended",
        "_events",
        "_poll",
        "_poller",
        "_recv",
        "_rest",
        "_rings_at",
        "_socket",
        "_tls",
        "_until",
        "closed",
    )

    def __init__(self, connected: Connected, poller: Poller) -> None:
        raw_socket = connected.raw_socket
        self._socket = raw_socket
        self._recv = raw_socket.recv
        self._tls = connected.tls
        self._poller = poller
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._rest = _NOTHING
        self._ended = False
        self._until = self._rings_at = math.inf
        self._events = EVENT_READ
        self.closed = False
        if poller.closed:
            raw_socket.close()
            raise ConnectionAbortedError("this side closed it")
        poller.register(raw_socket, self)

    # For subclasses to define.

    def received(self, data: bytes) -> None:
        """These bytes have come; what is raised is given to `broken`."""
        raise NotImplementedError

    def broken(self, error: Exception | None) -> None:
        """Nothing follows: the other side has closed (None), or it cannot be read."""
        raise NotImplementedError

    def sent_all(self) -> None:
        """What `send_now` could not send at once is sent, or cannot be sent any more."""

    def expired(self, now: float) -> None:
        """The limit in time is reached."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """The transport is closed."""
        raise NotImplementedError

    # For all.

    def readable(self) -> None:
        """Something has come, or the end."""
        try:
            data = self._recv(MAX_READ)
            if data:
                if self._tls is None:
                    self.received(data)
                    return
                if self._goes_on(self._tls, data):
                    return
        except BlockingIOError:
            return
        except Exception as error:
            self.broken(error)
            return
        self.broken(None)

    def take_early(self) -> None:
        """Take what came together with the end of the TLS handshake, of which the kernel says nothing."""
        if self._tls is None or not self._tls.has_early:
            return
        try:
            if self._goes_on(self._tls, b""):
                return
        except Exception as error:
            self.broken(error)
            return
        self.broken(None)

    def _goes_on(self, tls: TlsSession, data: bytes) -> bool:
        """Give out what these bytes say; False where they are the last."""
        plain = tls.decrypt(data)
        if plain:
            self.received(plain)
        if reply := tls.outgoing():
            self._send(reply)
        if tls.error is not None:
            raise tls.error
        return not tls.ended

    def send_now(self, data: bytes) -> None:
        """Begin to send; what the socket does not take at once follows when it has room."""
        if self._tls is not None and not self.closed:
            try:
                data = self._tls.encrypt(data)
            except OSError:
                return  # it shows where the answer is waited for, which may have come before
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self.closed:
            return
        if self._rest:
            self._rest = memoryview(bytes(self._rest) + data)
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # as above
        if sent < len(data):
            self._rest = memoryview(data)[sent:]
            self._watch(self._events | EVENT_WRITE)

    def writable(self) -> None:
        """There is room for more of what was not sent at once."""
        try:
            self._rest = self._rest[self._socket.send(self._rest) :]
            if self._rest:
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # as in `send_now`
        self._watch(self._events & ~EVENT_WRITE)
        self.sent_all()

    def nothing_came(self) -> bool:
        """Whether the kernel has neither bytes nor the end of the connection for this side.

        The poller tells of that only in the loop's next turn, and none has come since the caller's own
        blocking work; so the kernel is asked as well.
        """
        if self._poll is None:
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN | select.POLLPRI)
            self._poll = poll.poll
        return not self._poll(0)

    def abort(self) -> None:
        """Close at once, without a word to the other side; again does nothing."""
        if self.closed:
            return
        self.closed = self._ended = True
        self._until = math.inf
        if self._events:
            self._poller.unregister(self._socket)
        if self._rings_at < math.inf:
            self._poller.forget_timer()
        self._socket.close()

    def ring(self, now: float) -> None:
        """The timer that was set last has ended."""
        if now < self._rings_at:
            return  # one that was set before an earlier one
        self._rings_at = math.inf
        if now >= self._until:
            self.expired(now)
        elif self._until < math.inf:
            self._limit(self._until)

    def _limit(self, until: float) -> None:
        """Have `expired` called at ``until``, unless the limit is moved before."""
        self._until = until
        if until < self._rings_at:
            self._rings_at = until
            self._poller.set_timer(until, self)

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._poller.watch(self._socket, self, self._events, events)
            self._events = events
