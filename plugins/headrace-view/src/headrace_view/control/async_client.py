"""A client of the control socket for trio and asyncio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace.bulk import ControlMessage, Done, GetStatus, encode_message
from headrace_view.control.replies import TIMEOUT, as_done, decode_reply, find_address, no_answer, no_run

_LONGEST_REPLY = 1 << 24
"""Bytes of a reply."""


class AsyncControlClient:
    """A connection to a run; `connect_async` makes it. Several tasks may use it."""

    def __init__(self, stream: anyio.abc.SocketStream, out: str | os.PathLike[str], timeout: float) -> None:
        self._stream = stream
        self._lines = BufferedByteReceiveStream(stream)
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
        async with self._lock:
            try:
                with anyio.fail_after(self._timeout):
                    await self._stream.send(encode_message(message) + b"\n")
                    return decode_reply(await self._lines.receive_until(b"\n", _LONGEST_REPLY))
            except TimeoutError:
                await self._stream.aclose()  # the reply may still come, and would be taken for the next one
                raise no_answer(self._out, self._timeout) from None
            except (
                anyio.EndOfStream,
                anyio.IncompleteRead,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
            ):
                raise no_run(self._out) from None


@asynccontextmanager
async def connect_async(
    out: str | os.PathLike[str], *, timeout: float = TIMEOUT
) -> AsyncIterator[AsyncControlClient]:
    """Connect to the run that writes to an output, during a block; see `connect`."""
    address = find_address(out)
    try:
        with anyio.fail_after(timeout):
            stream = await anyio.connect_unix(address)
    except TimeoutError:
        raise no_answer(out, timeout) from None
    except OSError:
        raise no_run(out) from None
    async with stream:
        yield AsyncControlClient(stream, out, timeout)
