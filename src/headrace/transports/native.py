"""The native transport: connections of its own, watched by one poll, in a pool for each endpoint."""

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
from headrace.policies import BackgroundTasks, GroupOfClient
from headrace.replies import Reply
from headrace.transports.connecting.client_certificate import ClientCertificate, load_client_certificate
from headrace.transports.connecting.connector import Connector, default_ssl_context
from headrace.transports.connecting.local_limits import local_errors_named
from headrace.transports.connecting.proxy import Forwarded, Proxy, ProxyChoice, chosen_proxy, parsed_proxy
from headrace.transports.connecting.timed_connector import Opener, Shared
from headrace.transports.event_loops.poller import Poller
from headrace.transports.http1.connection_pool import CLOSED, Http1Pool
from headrace.transports.request_writer import Http1Writer, Http2Writer
from headrace.transports.sockets.tls_session import HTTP1, HTTP2

if TYPE_CHECKING:
    from headrace.transports.http2.sender import Http2Sender


NO_HTTP2 = "http2 = true needs ngh2: pip install 'headrace[http2]', or leave http2 at 'auto'"


def has_http2() -> bool:
    """Whether HTTP/2 is installed."""
    return find_spec("ngh2") is not None


class NativeTransport:
    """Makes attempts over connections of its own.

    Up to ``max_connections`` idle ones are kept; how many are in use is bounded by the client's limiter.
    A reply over ``max_response_bytes`` is an error. ``ssl_context`` replaces the default of verified TLS
    on the system's certificates. Redirects are not followed.

    ``cert`` is shown to servers that ask for a client's certificate: the path of a PEM file that holds it and
    its key, or a pair or triple of certificate, key and password; it is loaded into ``ssl_context`` where
    there is one. ``proxy`` is the URL of an HTTP proxy, or a function from an endpoint's URL to that of its
    proxy or None; by default there is none, whatever the environment says. Raises `SettingsError` for a
    certificate that cannot be loaded and for what is not an HTTP proxy.

    ``http2`` is for endpoints that do not say it themselves. "auto": HTTP/2 over https where the server
    chooses it and ngh2 is installed (``headrace[http2]``), else HTTP/1.1. True: HTTP/2 only, over plain http
    without asking. False: HTTP/1.1 only. Raises `SettingsError` for True without ngh2.
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
            parsed_proxy(chosen_proxy(proxy, "") or "")
        if cert is not None:
            ssl_context = ssl_context or default_ssl_context()
            load_client_certificate(ssl_context, cert)
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._senders: dict[Endpoint, Http1Pool | Http2Sender | Forwarded] = {}
        self._group: BackgroundTasks | None = None
        self._poller: Poller | None = None
        self._shared = Shared()
        self._closed = False

    @asynccontextmanager
    async def lifespan(self, group: GroupOfClient) -> AsyncIterator[None]:
        """What is open with a client: on trio a task group, for sockets are watched by tasks there."""
        if not on_asyncio():
            self._group = await group()
        yield

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Make one attempt; see `Transport.send`."""
        sender = self._senders.get(call.endpoint) or self._sender(call.endpoint)
        return sender.send(call)

    def _sender(self, endpoint: Endpoint) -> Http1Pool | Http2Sender | Forwarded:
        if self._closed:
            raise ClientStateError(CLOSED)
        if self._group is None and not on_asyncio():
            raise ClientStateError("on trio the native transport is used within its lifespan")
        parts = urlsplit(endpoint.base_url)
        context = None
        with local_errors_named(parts.netloc):
            if self._poller is None:
                self._poller = Poller(self._group)
            if parts.scheme == "https":
                context = self._ssl_context = self._ssl_context or default_ssl_context()
        named = chosen_proxy(self._proxy, endpoint.base_url)
        proxy = None if named is None else parsed_proxy(named)
        port = parts.port or (443 if context else 80)
        connector = Connector(parts.hostname or "", port, context, self._poller, proxy)
        opener = Opener(connector, self._shared)
        made = self._senders[endpoint] = self._made(
            endpoint, opener, self._poller, None if context else proxy
        )
        return made

    def _made(
        self, endpoint: Endpoint, opener: Opener, poller: Poller, forwards: Proxy | None
    ) -> Http1Pool | Http2Sender | Forwarded:
        http2 = self._http2 if endpoint.http2 is None else endpoint.http2
        if http2 == "auto":
            http2 = "auto" if has_http2() and endpoint.base_url.startswith("https:") else False
        http1 = None
        if http2 is not True:
            http1 = Http1Pool(
                opener,
                Http1Writer(endpoint, forwards),
                poller,
                self._shared,
                max_idle=self._max_idle,
                max_bytes=self._max_bytes,
            )
            if http2 is False:
                return http1 if forwards is None else Forwarded(http1, forwards)
        if not has_http2():
            raise SettingsError(NO_HTTP2)
        from headrace.transports.http2.connection_pool import Http2Pool
        from headrace.transports.http2.sender import Http2Sender

        pool = Http2Pool(
            opener, poller, self._shared, protocols=(HTTP2,) if http1 is None else (HTTP2, HTTP1)
        )
        return Http2Sender(pool, Http2Writer(endpoint), http1, max_bytes=self._max_bytes)

    async def aclose(self) -> None:
        """Drop all connections; an attempt that is under way on one of them fails. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._shared.close()
        if self._poller is not None:
            # Shielded, for a client whose block is cancelled closes as well; this waits for nobody else.
            with anyio.CancelScope(shield=True):
                await self._poller.aclose()
