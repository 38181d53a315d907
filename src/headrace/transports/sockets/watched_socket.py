"""A connected socket that a `Poller` watches; the base of HTTP/1.1 streams and HTTP/2 connections."""

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
"""Bytes to read at a time. The tasks that wait for these responses run before more is read.

With 1,000 calls in flight on ten HTTP/2 connections, four times as much cost 77 µs per call instead of 58:
the data of the responses had left the processor's caches before a task read it.
"""

_NOTHING = memoryview(b"")


class DeadlinePassed(Exception):
    """The deadline of a wait has passed."""


class ConnectedSocket(NamedTuple):
    """A connected socket, the TLS session over it, and the protocol that was negotiated."""

    raw_socket: socket
    tls: TlsSession | None = None
    protocol: str = HTTP1


class WatchedSocket:
    """Owns a connected, non-blocking socket, its unsent bytes, and one deadline.

    A new deadline is only compared with the current timer; a timer that ends too early is set again. A cancel
    scope per wait would take a third of a call's time, most of it to set and cancel a timer.

    Raises `OSError` if the poller cannot watch the socket; the caller still owns the socket then.
    """

    __slots__ = (
        "_deadline",
        "_ended",
        "_events",
        "_poll",
        "_poller",
        "_recv",
        "_socket",
        "_timer_at",
        "_tls",
        "_unsent",
        "closed",
    )

    def __init__(self, connected: ConnectedSocket, poller: Poller) -> None:
        raw_socket = connected.raw_socket
        self._socket = raw_socket
        self._recv = raw_socket.recv
        self._tls = connected.tls
        self._poller = poller
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._unsent = _NOTHING
        self._ended = False
        self._deadline = self._timer_at = math.inf
        self._events = EVENT_READ
        self.closed: bool = False
        if poller.closed:
            raw_socket.close()
            raise ConnectionAbortedError("this side closed it")
        poller.register(raw_socket, self)

    # Defined by subclasses.

    def on_received(self, data: bytes) -> None:
        """These bytes have arrived. An exception raised here is passed to `on_disconnected`."""
        raise NotImplementedError

    def on_disconnected(self, error: Exception | None) -> None:
        """Nothing more will arrive: the peer has closed the connection (None), or reading failed."""
        raise NotImplementedError

    def on_drained(self) -> None:
        """All unsent bytes are sent, or can no longer be sent."""

    def on_deadline(self, now: float) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def on_poller_closed(self) -> None:
        """The transport is closed."""
        raise NotImplementedError

    # The same for all subclasses.

    def on_readable(self) -> None:
        """Bytes have arrived, or the end of the connection."""
        try:
            data = self._recv(MAX_READ)
            if data:
                if self._tls is None:
                    self.on_received(data)
                    return
                if self._decrypt(self._tls, data):
                    return
        except BlockingIOError:
            return
        except Exception as error:
            self.on_disconnected(error)
            return
        self.on_disconnected(None)

    def process_early_data(self) -> None:
        """Process bytes that arrived with the end of the TLS handshake; the kernel does not report them."""
        if self._tls is None or not self._tls.has_early_data:
            return
        try:
            if self._decrypt(self._tls, b""):
                return
        except Exception as error:
            self.on_disconnected(error)
            return
        self.on_disconnected(None)

    def _decrypt(self, tls: TlsSession, data: bytes) -> bool:
        """Pass on the decrypted bytes. False if they are the last ones."""
        plain = tls.decrypt(data)
        if plain:
            self.on_received(plain)
        if reply := tls.data_to_send():
            self._send(reply)
        if tls.error is not None:
            raise tls.error
        return not tls.ended

    def send_now(self, data: bytes) -> None:
        """Start to send. Bytes that the socket does not accept at once are sent when it has room."""
        if self._tls is not None and not self.closed:
            try:
                data = self._tls.encrypt(data)
            except OSError:
                return  # the error shows when the response is read, which may already have arrived
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self.closed:
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # as above
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._watch(self._events | EVENT_WRITE)

    def on_writable(self) -> None:
        """The socket has room for bytes that are not sent yet."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
            if self._unsent:
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # as in `send_now`
        self._watch(self._events & ~EVENT_WRITE)
        self.on_drained()

    def nothing_received(self) -> bool:
        """Whether the kernel holds neither received bytes nor the end of the connection.

        This polls the kernel, because the poller reports input only in the event loop's next turn, and the
        caller may have blocked the loop since the last one.
        """
        if self._poll is None:
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN | select.POLLPRI)
            self._poll = poll.poll
        return not self._poll(0)

    def abort(self) -> None:
        """Close at once, without a message to the peer. A second call does nothing."""
        if self.closed:
            return
        self.closed = self._ended = True
        self._deadline = math.inf
        if self._events:
            self._poller.unregister(self._socket)
        if self._timer_at < math.inf:
            self._poller.discard_timer()
        self._socket.close()

    def on_timer(self, now: float) -> None:
        """A timer has ended."""
        if now < self._timer_at:
            return  # a later timer, replaced by an earlier one
        self._timer_at = math.inf
        if now >= self._deadline:
            self.on_deadline(now)
        elif self._deadline < math.inf:
            self._set_deadline(self._deadline)

    def _set_deadline(self, deadline: float) -> None:
        """Call `on_deadline` at ``deadline``, unless the deadline is moved before that."""
        self._deadline = deadline
        if deadline < self._timer_at:
            self._timer_at = deadline
            self._poller.set_timer(deadline, self)

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._poller.modify(self._socket, self, self._events, events)
            self._events = events
