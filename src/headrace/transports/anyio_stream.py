"""A stream over anyio's: TLS on trio."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable
from socket import socket
from typing import TypeVar

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream

from headrace.transports.streams import MAX_READ, Feed, LimitReached, Probe

T = TypeVar("T")


class AnyioStream:
    """See `headrace.transports.streams.Stream`."""

    def __init__(self, stream: anyio.abc.ByteStream, raw_socket: socket) -> None:
        self._stream = stream
        self._socket = raw_socket
        self._probe = Probe(raw_socket)

    @classmethod
    async def over(cls, raw_socket: socket, context: ssl.SSLContext, host: str) -> AnyioStream:
        """The stream over a connected socket, which it owns, after a TLS handshake."""
        plain = await anyio.abc.SocketStream.from_socket(raw_socket)
        stream = await TLSStream.wrap(plain, hostname=host, ssl_context=context, standard_compatible=False)
        return cls(stream, raw_socket)

    async def send(self, data: bytes, until: float) -> None:
        await _limited(self._stream.send(data), until)

    async def pump(self, feed: Feed, until: float, silence: float | None) -> bool:
        while True:
            limit = until if silence is None else min(until, anyio.current_time() + silence)
            try:
                data = await _limited(self._stream.receive(MAX_READ), limit)
            except anyio.EndOfStream:
                return False
            if feed(data):
                return True

    def sound(self) -> bool:
        return self._probe.silent()

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


async def _limited(work: Awaitable[T], until: float) -> T:
    with anyio.CancelScope(deadline=until):
        try:
            return await work
        except anyio.BrokenResourceError as error:
            raise ConnectionResetError(*(error.__cause__.args if error.__cause__ else ())) from error
    raise LimitReached
