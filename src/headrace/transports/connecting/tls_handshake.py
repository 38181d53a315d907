"""The client's part of a TLS handshake, driven by the poller."""

from __future__ import annotations

import ssl
from socket import socket
from typing import TYPE_CHECKING

from headrace.transports.connecting.negotiation import Negotiation

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller
    from headrace.transports.sockets.tls_session import TlsSession


class Handshake(Negotiation):
    """``await Handshake(…).over()`` completes the handshake of ``tls`` over a connected socket.

    Raises `OSError`; `ssl.SSLError` is one.
    """

    __slots__ = ("_session",)

    def __init__(self, raw_socket: socket, tls: TlsSession, poller: Poller) -> None:
        super().__init__(raw_socket, poller)
        self._session = tls

    def begin(self) -> bool:
        """See `Negotiation.begin`."""
        return self._shake_hands(None)

    def go_on(self, data: bytes) -> bool:
        """See `Negotiation.go_on`."""
        return self._shake_hands(data)

    def lost(self) -> Exception:
        """See `Negotiation.lost`."""
        return ssl.SSLEOFError("the other side closed")

    def _shake_hands(self, received: bytes | None) -> bool:
        try:
            return self._session.handshake(received)
        finally:  # an alert says to the other side what is wrong
            self._send(self._session.outgoing())
