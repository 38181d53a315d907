"""The native transport: its own connections, watched by one poller, in one pool per endpoint."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import anyio

from headrace._support.clock import on_asyncio
from headrace.calls import Call
from headrace.endpoint import Endpoint
from headrace.errors import ClientStateError, SettingsError
from headrace.keys import Secret
from headrace.policies import BackgroundTasks, TaskGroupFactory
from headrace.replies import Reply
from headrace.transports.connecting.client_certificate import ClientCertificate, load_client_certificate
from headrace.transports.connecting.connection_errors import CLOSED
from headrace.transports.connecting.connector import Connector
from headrace.transports.connecting.local_limits import translate_local_errors
from headrace.transports.connecting.pool_group import PoolGroup
from headrace.transports.connecting.proxy import Proxy, ProxyChoice, parse_proxy, select_proxy
from headrace.transports.connecting.ssl_context import default_ssl_context
from headrace.transports.connecting.timed_connector import TimedConnector
from headrace.transports.event_loops.poller import Poller
from headrace.transports.http1.connection_pool import Http1Pool
from headrace.transports.http1.forward_proxy import ForwardProxySender
from headrace.transports.request_writer import Http1Writer, Http2Writer
from headrace.transports.sockets.tls_session import HTTP1, HTTP2

if TYPE_CHECKING:
    from headrace.transports.http2.sender import Http2Sender


NO_HTTP2 = "http2 = true needs ngh2: pip install 'headrace[http2]', or leave http2 at 'auto'"


def has_http2() -> bool:
    """Whether the library for HTTP/2 is installed."""
    return find_spec("ngh2") is not None


class NativeTransport:
    """Makes attempts over its own connections.

    Redirects are not followed.

    Args:
        max_connections: Idle connections to keep, by default 100. The client's limiter limits those in use.
        max_response_bytes: Size limit of a response, by default 64 MiB. A larger one is an error.
        ssl_context: Replaces the default: verified TLS with the system's certificates.
        cert: A client certificate: the path of a PEM file with certificate and key, or a tuple of
            certificate, key and password. It is loaded into ``ssl_context`` if that is passed.
        proxy: The URL of an HTTP proxy, or a function from an endpoint's URL to the URL of its proxy or None.
            By default no proxy is used; the environment is ignored.
        http2: For endpoints that do not set it. "auto" (default): over https the server chooses HTTP/2 if
            ngh2 is installed (``headrace[http2]``), otherwise HTTP/1.1. True: only HTTP/2, also over plain
            http. False: only HTTP/1.1.

    Raises:
        SettingsError: The certificate cannot be loaded, the proxy is not an HTTP proxy, or ``http2`` is True
            without ngh2.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        max_response_bytes: int = 64 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
        cert: ClientCertificate | None = None,
        proxy: ProxyChoice = None,
        http2: bool | Literal["auto"] = "auto",
    ) -> None:
        if http2 is True and not has_http2():
            raise SettingsError(NO_HTTP2)
        self._http2 = http2
        self._max_idle = max_connections
        self._max_bytes = max_response_bytes
        if isinstance(proxy, (str, Secret)):
            parse_proxy(select_proxy(proxy, "") or "")
        if cert is not None:
            ssl_context = ssl_context or default_ssl_context()
            load_client_certificate(ssl_context, cert)
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._senders: dict[Endpoint, Http1Pool | Http2Sender | ForwardProxySender] = {}
        self._group: BackgroundTasks | None = None
        self._poller: Poller | None = None
        self._pool_group = PoolGroup()
        self._closed = False

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        """Active while the client is open. On trio it starts background tasks that watch the sockets."""
        if not on_asyncio():
            self._group = await group()
        yield

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Make one attempt; see `Transport.send`."""
        sender = self._senders.get(call.endpoint) or self._new_sender(call.endpoint)
        return sender.send(call)

    def _new_sender(self, endpoint: Endpoint) -> Http1Pool | Http2Sender | ForwardProxySender:
        if self._closed:
            raise ClientStateError(CLOSED)
        if self._group is None and not on_asyncio():
            raise ClientStateError("on trio the native transport must be used within its lifespan")
        parts = urlsplit(endpoint.base_url)
        context = None
        with translate_local_errors(parts.netloc):
            if self._poller is None:
                self._poller = Poller(self._group)
            if parts.scheme == "https":
                context = self._ssl_context = self._ssl_context or default_ssl_context()
        proxy_url = select_proxy(self._proxy, endpoint.base_url)
        proxy = None if proxy_url is None else parse_proxy(proxy_url)
        port = parts.port or (443 if context else 80)
        connector = Connector(parts.hostname or "", port, context, self._poller, proxy)
        timed_connector = TimedConnector(connector, self._pool_group)
        sender = self._senders[endpoint] = self._sender_for(
            endpoint, timed_connector, self._poller, None if context else proxy
        )
        return sender

    def _sender_for(
        self, endpoint: Endpoint, connector: TimedConnector, poller: Poller, forward_proxy: Proxy | None
    ) -> Http1Pool | Http2Sender | ForwardProxySender:
        http2 = self._http2 if endpoint.http2 is None else endpoint.http2
        if http2 == "auto":
            http2 = "auto" if has_http2() and endpoint.base_url.startswith("https:") else False
        http1 = None
        if http2 is not True:
            http1 = Http1Pool(
                connector,
                Http1Writer(endpoint, forward_proxy),
                poller,
                self._pool_group,
                max_idle=self._max_idle,
                max_bytes=self._max_bytes,
            )
            if http2 is False:
                return http1 if forward_proxy is None else ForwardProxySender(http1, forward_proxy)
        if not has_http2():
            raise SettingsError(NO_HTTP2)
        from headrace.transports.http2.connection_pool import Http2Pool
        from headrace.transports.http2.sender import Http2Sender

        pool = Http2Pool(
            connector, poller, self._pool_group, protocols=(HTTP2,) if http1 is None else (HTTP2, HTTP1)
        )
        return Http2Sender(pool, Http2Writer(endpoint), http1, max_bytes=self._max_bytes)

    async def aclose(self) -> None:
        """Close all connections. Attempts in progress fail. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._pool_group.close()
        if self._poller is not None:
            # Shielded, because a cancelled client closes too. This waits for no peer.
            with anyio.CancelScope(shield=True):
                await self._poller.aclose()
