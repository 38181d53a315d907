"""The native transport: connections of its own, watched by one poll, in a pool for each endpoint."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio

from headrace.background import BackgroundTasks, GroupOfClient
from headrace.clock import on_asyncio
from headrace.endpoints import Endpoint
from headrace.errors import ClientStateError
from headrace.model import Call
from headrace.reply import Reply
from headrace.transports.connecting import Connector, default_ssl_context
from headrace.transports.http1_pool import CLOSED, Http1Pool
from headrace.transports.local_limits import local_errors_named
from headrace.transports.opening import Opener, Shared
from headrace.transports.poller import Poller
from headrace.transports.request_writer import writer_for


class NativeTransport:
    """Makes attempts over connections of its own.

    Up to ``max_connections`` idle ones are kept; how many are in use is bounded by the client's limiter.
    A reply over ``max_response_bytes`` is an error. ``ssl_context`` replaces the default of verified TLS
    on the system's certificates. Redirects are not followed.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        max_response_bytes: int = 64 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._max_idle = max_connections
        self._max_bytes = max_response_bytes
        self._ssl_context = ssl_context
        self._pools: dict[Endpoint, Http1Pool] = {}
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
        pool = self._pools.get(call.endpoint) or self._pool(call.endpoint)
        return pool.send(call)

    def _pool(self, endpoint: Endpoint) -> Http1Pool:
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
        connector = Connector(
            parts.hostname or "", parts.port or (443 if context else 80), context, self._poller
        )
        pool = Http1Pool(
            Opener(connector, self._shared),
            writer_for(endpoint),
            self._poller,
            self._shared,
            max_idle=self._max_idle,
            max_bytes=self._max_bytes,
        )
        self._pools[endpoint] = pool
        return pool

    async def aclose(self) -> None:
        """Drop all connections; an attempt that is under way on one of them fails."""
        self._closed = True
        self._shared.close()
        if self._poller is not None:
            # Shielded, for a client whose block is cancelled closes as well; this waits for nobody else.
            with anyio.CancelScope(shield=True):
                await self._poller.aclose()
