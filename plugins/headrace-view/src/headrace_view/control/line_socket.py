"""Lines over a Unix socket, on trio and asyncio.

The streams of anyio are not used: on asyncio, one that is cancelled when data arrives logs a traceback.
"""

from __future__ import annotations

import socket

import anyio

from headrace import HeadraceError

_CHUNK = 1 << 16


class LineTooLong(HeadraceError):
    """A line has more bytes than allowed; what follows cannot be read."""


class LineSocket:
    """A connection that does not block.

    Args:
        connection: The socket, which this object owns.
        longest: The most bytes of a line that is received.
    """

    def __init__(self, connection: socket.socket, longest: int) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._longest = longest
        self._received = bytearray()

    async def receive(self) -> bytes | None:
        """The next line; None if the peer is gone.

        Raises:
            LineTooLong: It is longer than allowed.
        """
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > self._longest:
                raise LineTooLong(f"a message has at most {self._longest:,} bytes")
            await anyio.wait_readable(self._connection)
            try:
                more = self._connection.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                more = b""
            if not more:
                return None
            self._received += more
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    async def send(self, line: bytes) -> bool:
        """Send a line; returns whether the peer is there to read it."""
        left = memoryview(line + b"\n")
        while left:
            try:
                left = left[self._connection.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._connection)
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Close the connection; no task may use it."""
        self._connection.close()
