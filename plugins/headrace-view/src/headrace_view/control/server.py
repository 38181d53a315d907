"""Serves the control messages of a run on a Unix socket: one message a line, one reply a line."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace import HeadraceError
from headrace.bulk import Refused, RunControl
from headrace.plugins import task_group
from headrace_view.control.runtime_folder import socket_path
from headrace_view.control.stale_sockets import remove_stale_sockets

_log = logging.getLogger("headrace")

LONGEST_LINE = 1 << 20
"""Bytes of a message."""

_MOST_CLIENTS = 32
_SEND_TIMEOUT = 10.0
"""Seconds after which a client that does not read its reply is left."""

_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


@asynccontextmanager
async def serve_control(control: RunControl) -> AsyncIterator[None]:
    """Serve control messages during the block; the socket is removed at its end.

    Raises:
        HeadraceError: There can be no socket.
    """
    assert control.out is not None  # only runs with an output are accompanied
    path = socket_path(control.out)
    remove_stale_sockets(path.parent)
    try:
        listener = await anyio.create_unix_listener(path, mode=0o600)  # replaces that of a killed run
    except OSError as error:
        raise HeadraceError(f"{path}: {error.strerror or error}") from error
    try:
        async with listener, task_group() as group:
            control.announce(str(path))
            group.start_soon(listener.serve, _Clients(control).serve)
            yield
            group.cancel_scope.cancel()
    finally:
        with suppress(OSError):
            os.unlink(path)


class _Clients:
    """The clients of a run, none of which can disturb it."""

    def __init__(self, control: RunControl) -> None:
        self._control = control
        self._number = 0

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Serve a client until it leaves, sends something that is no line, or does not read its replies."""
        self._number += 1
        try:
            async with stream:
                if self._number > _MOST_CLIENTS:
                    await self._send(stream, _refused("too many clients; close some of them"))
                else:
                    await self._serve(stream)
        except _GONE:
            pass
        except Exception:
            _log.warning("a client of the control socket was left", exc_info=True)
        finally:
            self._number -= 1

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        while True:
            try:
                line = await lines.receive_until(b"\n", LONGEST_LINE)
            except anyio.DelimiterNotFound:
                await self._send(stream, _refused(f"a message has at most {LONGEST_LINE:,} bytes"))
                return
            if not await self._send(stream, await self._control.reply_to(line)):
                return

    async def _send(self, stream: anyio.abc.SocketStream, reply: bytes) -> bool:
        """Send a reply; False if the client does not read it."""
        with anyio.move_on_after(_SEND_TIMEOUT):
            await stream.send(reply + b"\n")
            return True
        return False


def _refused(why: str) -> bytes:
    return msgspec.json.encode(Refused(message=why))
