"""TLS without I/O: bytes in, bytes out, so that one system call serves many records."""

from __future__ import annotations

import ssl

HTTP1 = "http/1.1"
HTTP2 = "h2"
"""The protocols by their names in ALPN (RFC 7301)."""

_MAX_RECORD = 16 * 1024
"""Bytes to decrypt at a time: a record holds at most this many (RFC 8446, 5.1)."""


class TlsSession:
    """The client's side of one TLS connection.

    ``ended``: the peer has closed its side. ``error``: the received bytes cannot be decrypted. Every failure
    is an `ssl.SSLError`.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "_read", "_write", "ended", "error")

    def __init__(
        self, context: ssl.SSLContext, server_hostname: str, session: ssl.SSLSession | None = None
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname, session=session
        )
        self._read, self._write = self._object.read, self._object.write
        self.ended: bool = False
        self.error: ssl.SSLError | None = None

    @property
    def protocol(self) -> str | None:
        """The protocol that the server chose by ALPN."""
        return self._object.selected_alpn_protocol()

    @property
    def object(self) -> ssl.SSLObject:
        """Python's SSL object, with certificates and sessions."""
        return self._object

    def handshake(self, received: bytes | None) -> bool:
        """Continue the handshake. True once it is done. Send what `data_to_send` has after each call.

        ``received``: bytes since the last call; None at first, empty if the peer has closed.
        """
        if received:
            self._incoming.write(received)
        elif received is not None:
            self._incoming.write_eof()
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def has_early_data(self) -> bool:
        """Whether bytes have arrived that are not decrypted."""
        return self._incoming.pending > 0

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for ``data``."""
        self._write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """The content of these bytes, empty if more are needed. Then check ``ended`` and ``error``."""
        incoming = self._incoming
        incoming.write(data)
        parts = []
        try:
            while incoming.pending:
                part = self._read(_MAX_RECORD)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = error  # bytes decrypted before the error are still valid
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def data_to_send(self) -> bytes:
        """The bytes that TLS itself sends: handshake messages, an alert, or a reply to a key update."""
        return self._outgoing.read() if self._outgoing.pending else b""
