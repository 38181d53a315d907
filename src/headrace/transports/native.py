"""The native transport: HTTP/1.1 over anyio streams, with a LIFO pool of idle connections per endpoint."""

from __future__ import annotations

import math
import ssl
from collections import deque
from urllib.parse import urlsplit

import anyio

from headrace.errors import CallError, CallTimeout, ConnectError, IncompleteReply
from headrace.model import Call, Endpoint, Headers, Reply, Timeout
from headrace.transports.connecting import connect, default_ssl_context
from headrace.transports.http1 import ReplyParser, RequestWriter
from headrace.transports.streams import Limit, Stream

KEEP_ALIVE = 60.0
"""Seconds that a connection is kept idle; load balancers forget theirs after 60 to 350."""

_LOOP_LAG = 0.1
"""Seconds by which a healthy event loop may notice a deadline late."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


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
        self._origins: dict[Endpoint, _Origin] = {}

    async def send(self, call: Call) -> Reply:
        """Make one attempt; see `Transport.send`."""
        origin = self._origins.get(call.endpoint) or self._origin(call.endpoint)
        return await origin.send(call)

    def _origin(self, endpoint: Endpoint) -> _Origin:
        secure = urlsplit(endpoint.base_url).scheme == "https"
        if secure and self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        origin = _Origin(endpoint, self._ssl_context if secure else None, self._max_idle, self._max_bytes)
        self._origins[endpoint] = origin
        return origin

    async def aclose(self) -> None:
        """Drop all idle connections; one in use is dropped when its attempt ends."""
        for origin in self._origins.values():
            await origin.aclose()


class _Connection:
    """A stream, and the parser of what comes over it."""

    __slots__ = ("idle_since", "parser", "stream")

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self.stream = stream
        self.parser = ReplyParser(max_bytes)
        self.idle_since = 0.0


class _Origin:
    """One endpoint's connections."""

    def __init__(
        self, endpoint: Endpoint, ssl_context: ssl.SSLContext | None, max_idle: int, max_bytes: int
    ) -> None:
        parts = urlsplit(endpoint.base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if ssl_context else 80)
        self._ssl_context = ssl_context
        self._writer = RequestWriter(endpoint)
        self._max_idle = max_idle
        self._max_bytes = max_bytes
        self._idle: deque[_Connection] = deque()
        self._closed = False

    async def send(self, call: Call) -> Reply:
        request = self._writer.write(call.request.method, call.request.path, call.content)
        start = anyio.current_time()
        connection = await self._take(start)
        if connection is not None:
            try:
                return await self._exchange(call, request, connection, start)
            except ConnectError:
                # Lost before a byte of the answer. The server may have acted on the request all the same,
                # so only one that may be repeated is sent again here; a retry policy decides for others.
                if call.request.method not in _IDEMPOTENT:
                    raise
        return await self._exchange(call, request, None, start)

    async def _exchange(
        self, call: Call, request: bytes, connection: _Connection | None, start: float
    ) -> Reply:
        timeout = call.timeout
        end = math.inf if timeout.total is None else start + timeout.total
        if connection is None:
            connection = await self._connect(timeout, end)
        phase = "write"
        # One limit an attempt, whose deadline moves from phase to phase.
        with connection.stream.limit(end) as limit:
            try:
                connection.parser.begin(call.request.method)
                if timeout.write is not None:
                    limit.deadline = min(end, anyio.current_time() + timeout.write)
                await connection.stream.send(request)
                limit.deadline = end
                phase = "read"
                await self._read(connection, limit, end, timeout)
            except OSError as error:
                await connection.stream.abort()
                raise self._lost(connection, error) from error
            except BaseException:
                # A connection that holds half an answer must not carry another call.
                await connection.stream.abort()
                raise
        if limit.cancelled_caught:
            raise self._timed_out(phase, timeout, in_total=limit.deadline >= end)
        return await self._complete(connection)

    async def _connect(self, timeout: Timeout, end: float) -> _Connection:
        for last_try in (False, True):
            limit = math.inf if timeout.connect is None else anyio.current_time() + timeout.connect
            with anyio.CancelScope(deadline=min(limit, end)):
                stream = await connect(self._host, self._port, self._ssl_context)
                return _Connection(stream, self._max_bytes)
            # An event loop that was blocked past the deadline has looked at no socket since. That says
            # nothing about the endpoint, which gets its time once more.
            if last_try or limit >= end or anyio.current_time() - limit <= _LOOP_LAG:
                break
        raise self._timed_out("connect", timeout, in_total=limit >= end)

    async def _read(self, connection: _Connection, limit: Limit, end: float, timeout: Timeout) -> None:
        receive, parser = connection.stream.receive, connection.parser
        while True:
            if timeout.read is not None:
                limit.deadline = min(end, anyio.current_time() + timeout.read)
            data = await receive()
            if not data:
                if not parser.started:
                    raise self._lost(connection, None)
                parser.finish()
                return
            if parser.feed(data):
                return

    def _lost(self, connection: _Connection, error: OSError | None) -> CallError:
        """The error for a connection that ended too early."""
        where = f"{self._host}:{self._port}"
        how = "closed the connection" if error is None else f"lost the connection ({error.strerror or error})"
        if connection.parser.started:
            return IncompleteReply(f"{where} {how} before the answer was complete")
        return ConnectError(f"{where} {how} before it answered")

    async def _complete(self, connection: _Connection) -> Reply:
        parser = connection.parser
        status, headers, content = parser.status, parser.headers, None
        try:
            content = parser.content()
        finally:
            if parser.reusable and content is not None and not self._closed:
                await self._keep(connection)
            else:
                await connection.stream.abort()
        return Reply(status, Headers(headers), content)

    def _timed_out(self, phase: str, timeout: Timeout, *, in_total: bool) -> CallTimeout:
        where = f"{self._host}:{self._port}"
        if in_total:
            return CallTimeout(
                f"no complete answer from {where} within {timeout.total:g} s ({phase}); raise timeout=",
                phase if phase == "connect" else "total",
            )
        limit: float = getattr(timeout, phase)
        return CallTimeout(f"{phase} timeout: {where} was silent for {limit:g} s", phase)

    async def _take(self, now: float) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < KEEP_ALIVE and connection.stream.sound():
                return connection
            await connection.stream.abort()
        return None

    async def _keep(self, connection: _Connection) -> None:
        connection.idle_since = now = anyio.current_time()
        self._idle.append(connection)
        oldest = self._idle[0]
        if len(self._idle) > self._max_idle or now - oldest.idle_since > KEEP_ALIVE:
            await self._idle.popleft().stream.abort()

    async def aclose(self) -> None:
        self._closed = True
        # Shielded, so that a client whose block is cancelled leaves none open; aborting waits for nobody.
        with anyio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().stream.abort()
