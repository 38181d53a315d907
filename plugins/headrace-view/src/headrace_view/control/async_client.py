"""A client of the control socket for trio and asyncio."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from headrace.bulk import ControlMessage, Done, GetStatus, encode_message
from headrace_view.control.line_socket import LineSocket
from headrace_view.control.replies import TIMEOUT, as_done, decode_reply, find_address, no_answer, no_run

_LONGEST_REPLY = 1 << 24
"""Bytes of a reply."""


class AsyncControlClient:
    """A connection to a run; `connect_async` makes it. Several tasks may use it."""

    def __init__(self, connection: LineSocket, out: str | os.PathLike[str], timeout: float) -> None:
        self._connection: LineSocket | None = connection
        self._out = out
        self._timeout = timeout
        self._lock = anyio.Lock()

    async def status(self) -> dict[str, Any]:
        """See `ControlClient.status`."""
        return await self._ask(GetStatus())

    async def send(self, message: ControlMessage) -> Done:
        """See `ControlClient.send`."""
        return as_done(await self._ask(message))

    async def _ask(self, message: ControlMessage) -> dict[str, Any]:
        encoded = encode_message(message)
        async with self._lock:
            connection, self._connection = self._connection, None  # a late reply would be taken for the next
            line: bytes | None = None
            if connection is not None:
                with anyio.move_on_after(self._timeout) as scope:
                    if await connection.send(encoded):
                        line = await connection.receive()
                if scope.cancelled_caught:
                    raise no_answer(self._out, self._timeout)
            if line is None:
                raise no_run(self._out)
            self._connection = connection
            return decode_reply(line)


@asynccontextmanager
async def connect_async(
    out: str | os.PathLike[str], *, timeout: float = TIMEOUT
) -> AsyncIterator[AsyncControlClient]:
    """Connect to the run that writes to an output, during a block; see `connect`."""
    address = find_address(out)
    raw = socket.socket(socket.AF_UNIX)
    raw.setblocking(False)
    connection = LineSocket(raw, _LONGEST_REPLY)
    try:
        try:
            raw.connect(address)  # to a Unix socket, this does not wait
        except BlockingIOError:
            raise no_answer(out, timeout) from None
        except OSError as error:
            raise no_run(out, error) from None
        yield AsyncControlClient(connection, out, timeout)
    finally:
        connection.close()
