"""Opens connections: TCP, then TLS for https. Errors of the system become headrace's errors here."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from headrace.transports.connecting.address import Address
from headrace.transports.connecting.connection_errors import connect_error
from headrace.transports.connecting.handshake_limiter import HandshakeLimiter
from headrace.transports.connecting.local_limits import local_resource_error
from headrace.transports.connecting.proxy import Proxy, proxy_unreachable_error
from headrace.transports.connecting.proxy_tunnel import open_tunnel
from headrace.transports.connecting.ssl_context import tls_name
from headrace.transports.connecting.tls_handshake import TlsHandshake
from headrace.transports.connecting.tls_session_cache import TlsSessionCache
from headrace.transports.sockets.tls_session import HTTP1, HTTP2, TlsSession
from headrace.transports.sockets.watched_socket import ConnectedSocket

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller


class Connector:
    """Opens connections to one origin: TCP, and with ``context`` TLS, verified for the name ``host``.

    With ``proxy``, connections go through it. The proxy tunnels TLS and HTTP/2. It makes plain HTTP/1.1
    requests itself; see `RequestWriter`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        poller: Poller,
        proxy: Proxy | None = None,
    ) -> None:
        self._name = tls_name(host)
        self._target = f"[{self._name}]:{port}" if ":" in host else f"{self._name}:{port}"
        self.where: str = f"{host}:{port}" if proxy is None else f"{host}:{port} through {proxy}"
        self._address = Address(host, port) if proxy is None else Address(proxy.host, proxy.port)
        self._proxy = proxy
        self._context = context
        self._poller = poller
        self._session_cache = None if context is None else TlsSessionCache(context)
        self.limiter: AbstractAsyncContextManager[object] = (
            nullcontext() if context is None else HandshakeLimiter()
        )
        """Held during each `connect`. Without TLS a connect is cheap, so there is no limit."""

    def connect_nowait(self) -> ConnectedSocket | None:
        """A new connection, made without a wait; None: use `connect`."""
        raw_socket = self._address.connect_nowait() if self._context is None else None
        return None if raw_socket is None else ConnectedSocket(raw_socket)

    def on_connect_timeout(self, started: float) -> None:
        """Handle the timeout of a `connect` that began at ``started``."""
        self._address.on_connect_timeout(started)

    async def connect(self, protocols: Sequence[str]) -> ConnectedSocket:
        """A new connection with one of ``protocols``: the first one, or with TLS the server's choice.

        A server that chooses none uses HTTP/1.1.

        Raises `TLSError` for a failed handshake or certificate, `ProxyError` if the proxy fails,
        `LocalResourceError` if this machine has no connection left, `ConnectError` for the rest.
        """
        try:
            raw_socket = await self._connect_tcp()
            if self._proxy is not None and (self._context is not None or protocols[0] == HTTP2):
                await open_tunnel(raw_socket, self._proxy, self._target, self._poller)
            if self._context is None or self._session_cache is None:
                return ConnectedSocket(raw_socket, protocol=protocols[0])
            tls = await self._start_tls(raw_socket, self._context, self._session_cache, protocols)
            return ConnectedSocket(raw_socket, tls, tls.protocol or HTTP1)
        except OSError as error:
            failure = local_resource_error(error, self.where) or connect_error(error, self.where)
            raise failure from error

    async def _connect_tcp(self) -> socket.socket:
        """A socket connected to the endpoint, or to the proxy."""
        address = self._address
        try:
            raw_socket = None if self._context is None else address.connect_nowait()
            return raw_socket or await address.connect()
        except OSError as error:
            if self._proxy is None or local_resource_error(error, self.where) is not None:
                raise
            raise proxy_unreachable_error(self._proxy, error.strerror or str(error)) from error

    async def _start_tls(
        self,
        raw_socket: socket.socket,
        context: ssl.SSLContext,
        session_cache: TlsSessionCache,
        protocols: Sequence[str],
    ) -> TlsSession:
        """TLS over a connected socket, which is closed on failure."""
        try:
            context.set_alpn_protocols(list(protocols))  # each time, because the context may be shared
            tls = TlsSession(context, self._name, session_cache.session())
        except BaseException:
            raw_socket.close()
            raise
        await TlsHandshake(raw_socket, tls, self._poller).run()
        session_cache.on_handshake(tls.object)
        return tls
