"""The client's part of a TLS handshake, driven by the poller."""

from __future__ import annotations

import ssl
from socket import socket
from typing import TYPE_CHECKING

from headrace.transports.connecting.negotiation import Negotiation

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller
    from headrace.transports.sockets.tls_session import TlsSession


class TlsHandshake(Negotiation):
    """``await TlsHandshake(…).run()`` completes the handshake of ``tls`` over a connected socket.

    Raises `OSError`; `ssl.SSLError` is one.
    """

    __slots__ = ("_session",)

    def __init__(self, raw_socket: socket, tls: TlsSession, poller: Poller) -> None:
        super().__init__(raw_socket, poller)
        self._session = tls

    def start(self) -> bool:
        """See `Negotiation.start`."""
        return self._continue(None)

    def feed(self, data: bytes) -> bool:
        """See `Negotiation.feed`."""
        return self._continue(data)

    def disconnected_error(self) -> Exception:
        """See `Negotiation.disconnected_error`."""
        return ssl.SSLEOFError("the other side closed")

    def _continue(self, received: bytes | None) -> bool:
        try:
            return self._session.handshake(received)
        finally:  # on failure, an alert with the reason
            self._send(self._session.data_to_send())
