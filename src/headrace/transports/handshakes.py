"""TLS handshakes that a poller drives: the task that wants one is woken once, at its end."""

from __future__ import annotations

import ssl
from socket import socket
from typing import TYPE_CHECKING

from headrace.transports.sockets import Connected, WatchedSocket

if TYPE_CHECKING:
    from headrace.transports.loops import Waiter
    from headrace.transports.poller import Poller
    from headrace.transports.tls import TlsSession


async def shake_hands(raw_socket: socket, tls: TlsSession, poller: Poller) -> None:
    """Complete the handshake over a connected socket, which is closed where that fails; raises `OSError`."""
    try:
        handshake = _Handshake(raw_socket, tls, poller)
        try:
            await handshake.over()
        finally:
            handshake.stop()
    except BaseException:
        raw_socket.close()
        raise


class _Handshake(WatchedSocket):
    """A socket over which this side waits for the other side's part of a handshake."""

    __slots__ = ("_complete", "_error", "_session", "_waiter")

    def __init__(self, raw_socket: socket, tls: TlsSession, poller: Poller) -> None:
        super().__init__(Connected(raw_socket), poller)  # what comes is not decrypted, but for the handshake
        self._session = tls
        self._error: Exception | None = None
        self._complete = False
        self._waiter: Waiter | None = None

    async def over(self) -> None:
        """Begin, and wait for the end; raises what went wrong."""
        self._go_on(None)
        if not self._complete or self._rest:
            waiter = self._waiter = self._poller.new_waiter()
            await waiter
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Leave the socket to its next owner."""
        self._waiter = None
        self._watch(0)

    def received(self, data: bytes) -> None:
        """See `WatchedSocket.received`."""
        self._go_on(data)
        if self._complete and not self._rest:
            self._wake()

    def broken(self, error: Exception | None) -> None:
        """See `WatchedSocket.broken`."""
        self._error = error or ssl.SSLEOFError("the other side closed")
        self._wake()

    def sent_all(self) -> None:
        """See `WatchedSocket.sent_all`."""
        if self._complete:
            self._wake()

    def cut_off(self) -> None:
        """See `WatchedSocket.cut_off`."""
        self.broken(ConnectionAbortedError("this side closed it"))

    def _go_on(self, received: bytes | None) -> None:
        try:
            self._complete = self._session.handshake(received)
        finally:  # an alert says to the other side what is wrong
            self._send(self._session.outgoing())

    def _wake(self) -> None:
        self._watch(0)
        if self._waiter is not None:
            self._poller.wake(self._waiter)
            self._waiter = None
