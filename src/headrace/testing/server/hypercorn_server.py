"""The embedded endpoint on hypercorn, over TLS: HTTP/2, and HTTP/1.1 for clients without HTTP/2."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from headrace.testing.server.app import EndpointApp
from headrace.testing.server.certificates import Certificate
from headrace.testing.server.plan_sending import ConnectionCut

try:
    from h2.errors import ErrorCodes
    from h2.exceptions import ProtocolError
    from hypercorn.config import Config
    from hypercorn.events import RawData
    from hypercorn.trio.tcp_server import TCPServer
    from hypercorn.trio.worker_context import WorkerContext
except ImportError as _error:
    raise ImportError(
        "over TLS the embedded endpoint runs on hypercorn: pip install 'headrace[serve-tls]'"
    ) from _error

_KEEP_ALIVE = 600


class HypercornServer:
    """A server for an endpoint. Raises `SettingsError` if the certificate cannot be used.

    It accepts the connections itself, because hypercorn's own server ends at the first failed connection. It
    runs on trio, because hypercorn's connections cannot be cancelled on asyncio.
    """

    def __init__(self, app: EndpointApp, backlog: int, certificate: Certificate) -> None:
        self._app = app
        self._backlog = backlog
        self._context = certificate.context()
        self._config = Config()
        self._config.loglevel = "WARNING"
        self._config.include_server_header = False
        self._config.keep_alive_timeout = _KEEP_ALIVE
        # After this many requests hypercorn would send GOAWAY and not answer the requests in flight.
        self._config.keep_alive_max_requests = sys.maxsize

    def run(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; ``ready`` is called once these signals are handled."""
        trio.run(self._serve, listener, ready)

    async def _serve(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        over_tls = trio.SSLListener(plain, self._context, https_compatible=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, self._serve_connection, [over_tls]))
            if threading.current_thread() is not threading.main_thread():
                ready()
                await trio.sleep_forever()
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                ready()
                async for _ in signals:
                    # Requests in flight are simulated, so they need not be finished.
                    nursery.cancel_scope.cancel()

    async def _serve_connection(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await _Connection(self._run_app, self._config, WorkerContext(None), {}, stream)
        except Exception:
            # The failure of one connection must not end the others.
            await self._config.log.exception("A connection failed")

    async def _run_app(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except ConnectionCut:
            await _reset(send)


class _Connection(TCPServer):
    """A connection that cancels its requests when it closes; hypercorn would wait for them without end."""

    async def _read_data(self) -> None:
        await super()._read_data()
        nursery = self._task_group._nursery
        assert nursery is not None
        nursery.cancel_scope.cancel()


async def _reset(send: Any) -> None:
    """Reset the stream of an answer that is not complete.

    hypercorn closes an HTTP/1.1 connection on which an application failed, but it leaves an HTTP/2 stream
    open. An application cannot reset it, so this function and the class above use private parts of
    hypercorn, whose version is pinned.
    """
    stream = send.__self__
    protocol = stream.send.__self__
    buffer = getattr(protocol, "stream_buffers", {}).get(stream.stream_id)
    if buffer is not None:
        await buffer.drain()
        with suppress(ProtocolError):  # the other side has reset it, or is gone
            protocol.connection.reset_stream(stream.stream_id, ErrorCodes.INTERNAL_ERROR)
            await protocol.send(RawData(protocol.connection.data_to_send()))
