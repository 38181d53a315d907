"""TLS without I/O: bytes in, bytes out, so that one system call serves many records."""

from __future__ import annotations

import ssl

HTTP1 = "http/1.1"
HTTP2 = "h2"
"""The protocols by their names in ALPN (RFC 7301)."""

_MOST = 16 * 1024
"""Bytes that are decrypted at a time: a record holds no more (RFC 8446, 5.1)."""


class TlsSession:
    """The client's side of one TLS connection.

    ``ended``: the other side has said that nothing follows; ``error``: what it sent is not to be read. All
    that fails does so with `ssl.SSLError`.
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
        self.ended = False
        self.error: ssl.SSLError | None = None

    @property
    def protocol(self) -> str | None:
        """The protocol that the other side chose of those offered by ALPN."""
        return self._object.selected_alpn_protocol()

    @property
    def object(self) -> ssl.SSLObject:
        """Python's own, which knows certificates and sessions."""
        return self._object

    def handshake(self, received: bytes | None) -> bool:
        """Go on with the handshake; True once it is done. `outgoing` has what is to be sent then.

        ``received``: what came since, None at first, empty where the other side has closed.
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
    def has_early(self) -> bool:
        """Whether bytes have come that are not decrypted."""
        return self._incoming.pending > 0

    def encrypt(self, data: bytes) -> bytes:
        """What to send for ``data``."""
        self._write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What these bytes say, empty where more are needed; then look at ``ended`` and ``error``."""
        incoming = self._incoming
        incoming.write(data)
        parts = []
        try:
            while incoming.pending:
                part = self._read(_MOST)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = error  # what came before it has come
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def outgoing(self) -> bytes:
        """What TLS itself has to say: of a handshake, an alert, or the answer to a change of keys."""
        return self._outgoing.read() if self._outgoing.pending else b""
