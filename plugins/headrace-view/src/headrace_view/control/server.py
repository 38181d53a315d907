"""Serves the control messages of a run on a Unix socket: one message a line, one reply a line."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc
import msgspec

from headrace import HeadraceError
from headrace.bulk import Refused, RunControl
from headrace.plugins import task_group
from headrace_view.control.line_socket import LineSocket, LineTooLong
from headrace_view.control.runtime_folder import socket_path
from headrace_view.control.stale_sockets import remove_stale_sockets

_log = logging.getLogger("headrace")

LONGEST_LINE = 1 << 20
"""Bytes of a message."""

_MOST_CLIENTS = 32
_SEND_TIMEOUT = 10.0
"""Seconds after which a client that does not read its reply is left."""

_ACCEPT_PAUSE = 0.1
"""Seconds after which a connection is accepted that could not be, for example without a free file."""


@asynccontextmanager
async def serve_control(control: RunControl) -> AsyncIterator[None]:
    """Serve control messages during the block; the socket is removed at its end.

    Raises:
        HeadraceError: There can be no socket.
    """
    assert control.out is not None  # only runs with an output are accompanied
    path = socket_path(control.out)
    remove_stale_sockets(path.parent)
    listener = _listen(path)
    try:
        async with task_group() as group:
            control.announce(str(path))
            group.start_soon(_Clients(control, group).accept, listener)
            yield
            group.cancel_scope.cancel()
    finally:
        listener.close()
        with suppress(OSError):
            path.unlink()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.setblocking(False)
        path.unlink(missing_ok=True)  # that of a killed run
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(_MOST_CLIENTS)
    except OSError as error:
        listener.close()
        raise HeadraceError(f"{path}: {error.strerror or error}") from error
    return listener


class _Clients:
    """The clients of a run, none of which can disturb it."""

    def __init__(self, control: RunControl, group: anyio.abc.TaskGroup) -> None:
        self._control = control
        self._group = group
        self._number = 0

    async def accept(self, listener: socket.socket) -> None:
        """Serve each client that connects."""
        while True:
            await anyio.wait_readable(listener)
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError:
                await anyio.sleep(_ACCEPT_PAUSE)
                continue
            self._group.start_soon(self._serve, LineSocket(connection, LONGEST_LINE))

    async def _serve(self, client: LineSocket) -> None:
        """Serve a client until it leaves, sends a line that is too long, or does not read its replies."""
        self._number += 1
        try:
            if self._number > _MOST_CLIENTS:
                await self._send(client, _refused("too many clients; close some of them"))
                return
            while (line := await client.receive()) is not None:
                if not await self._send(client, await self._control.reply_to(line)):
                    return
        except LineTooLong as error:
            await self._send(client, _refused(str(error)))
        except Exception:
            _log.warning("a client of the control socket was left", exc_info=True)
        finally:
            self._number -= 1
            client.close()

    async def _send(self, client: LineSocket, reply: bytes) -> bool:
        """Send a reply; False if the client does not read it."""
        with anyio.move_on_after(_SEND_TIMEOUT):
            return await client.send(reply)
        return False


def _refused(why: str) -> bytes:
    return msgspec.json.encode(Refused(message=why))
