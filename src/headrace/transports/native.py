"""The native transport: HTTP/1.1 over streams of its own, and a LIFO pool of idle ones for each endpoint."""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio

from headrace.background import BackgroundTasks, GroupOfClient
from headrace.clock import on_asyncio, running_clock
from headrace.endpoints import Endpoint
from headrace.errors import (
    CallError,
    CallTimeout,
    ClientStateError,
    ConnectError,
    IncompleteReply,
    LocalResourceError,
    TLSError,
)
from headrace.model import Call, Timeout
from headrace.reply import Headers, Reply
from headrace.transports.connecting import Connector, default_ssl_context, refuses_certificate
from headrace.transports.encodings import unreadable
from headrace.transports.http1 import ReplyParser
from headrace.transports.local_limits import Shortage, local_errors_named
from headrace.transports.poller import Poller
from headrace.transports.request_writer import writer_for
from headrace.transports.streams import LimitReached, Stream

KEEP_ALIVE = 60.0
"""Seconds that a connection is kept idle where the endpoint does not say; load balancers allow 60 to 350."""

_LOOP_LAG = 0.1
"""Seconds by which a healthy event loop may notice a deadline late."""

_CLOSED = "this client was closed while calls were in flight"

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
        self._group: BackgroundTasks | None = None
        self._poller: Poller | None = None
        self._shortage: Shortage[_Handed] = Shortage(_put_back)
        self._closed = False

    @asynccontextmanager
    async def lifespan(self, group: GroupOfClient) -> AsyncIterator[None]:
        """What is open with a client: on trio a task group, for sockets are watched by tasks there."""
        if not on_asyncio():
            self._group = await group()
        yield

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Make one attempt; see `Transport.send`."""
        origin = self._origins.get(call.endpoint) or self._origin(call.endpoint)
        return origin.send(call)

    async def _wait_for_connection(
        self, error: LocalResourceError, patience: float | None, again: bool
    ) -> _Handed | None:
        """Wait until a connection can be had; what is handed over, None where one can be opened.

        Raises ``error`` where no connection is in use, so that none will be given back.
        """
        origins = self._origins.values()
        if sum(origin.close_idle() for origin in origins):
            return None
        if not sum(origin.opened for origin in origins):
            raise error
        return await self._shortage.wait(error, patience, again=again)

    def _origin(self, endpoint: Endpoint) -> _Origin:
        if self._closed:
            raise ClientStateError(_CLOSED)
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
        origin = _Origin(
            endpoint, connector, self._max_idle, self._max_bytes, self._shortage, self._wait_for_connection
        )
        self._origins[endpoint] = origin
        return origin

    async def aclose(self) -> None:
        """Drop all connections; an attempt that is under way on one of them fails."""
        self._closed = True
        for origin in self._origins.values():
            origin.close()
        self._shortage.close()
        if self._poller is not None:
            # Shielded, for a client whose block is cancelled closes as well; this waits for nobody else.
            with anyio.CancelScope(shield=True):
                await self._poller.aclose()


_Handed: TypeAlias = "tuple[_Origin, _Connection]"


def _put_back(handed: _Handed) -> None:
    origin, connection = handed
    origin.give_back(connection)


class _Connection:
    """A stream, and the parser of what comes over it."""

    __slots__ = ("dropped", "idle_until", "parser", "stream")

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self.stream = stream
        self.parser = ReplyParser(max_bytes)
        self.idle_until = 0.0
        self.dropped = False


class StreamedBody:
    """See `headrace.reply.Body`."""

    def __init__(self, origin: _Origin, connection: _Connection) -> None:
        self._origin = origin
        self._connection: _Connection | None = connection

    async def receive(self, until: float) -> bytes:
        if self._connection is None:
            return b""
        piece = await self._origin.read_piece(self._connection, until)
        if not piece:
            self._origin.give_back(self._connection)
            self._connection = None
        return piece

    async def aclose(self) -> None:
        if self._connection is not None:
            self._origin.drop(self._connection)
            self._connection = None


class _Origin:
    """One endpoint's connections."""

    def __init__(
        self,
        endpoint: Endpoint,
        connector: Connector,
        max_idle: int,
        max_bytes: int,
        shortage: Shortage[_Handed],
        wait_for_connection: Callable[[LocalResourceError, float | None, bool], Awaitable[_Handed | None]],
    ) -> None:
        self._connector = connector
        self._writer = writer_for(endpoint)
        self._max_idle = max_idle
        self._max_bytes = max_bytes
        self._now = running_clock()
        self._idle: deque[_Connection] = deque()
        self._closed = False
        self._shortage = shortage
        self._wait_for_connection = wait_for_connection
        self.opened = 0

    async def send(self, call: Call) -> Reply:
        method = call.request.method
        write = self._writer.write_streamed if call.streamed else self._writer.write
        request = write(call.request, call.content)
        if self._closed:
            raise ClientStateError(_CLOSED)
        start = self._now()
        timeout = call.timeout
        end = math.inf if timeout.total is None else start + timeout.total
        connection = self._take(start)
        kept = connection is not None
        while True:
            if connection is None:
                try:
                    connection, kept, waited = await self._new_connection(timeout, end)
                    end += waited
                except BaseException:
                    request = b""  # it holds the key, and there are tools that show a traceback's variables
                    raise
            stream, parser = connection.stream, connection.parser
            parser.begin(method)
            phase = "write"
            try:
                if not stream.send_at_once(request):
                    limit = math.inf if timeout.write is None else self._now() + timeout.write
                    if not await stream.send(request, parser.feed, min(end, limit)):
                        parser.end_with_connection()
                phase = "read"
                if call.streamed and await self._success_begins(connection, call, end):
                    body = StreamedBody(self, connection)
                    return Reply(parser.status, Headers(parser.headers), b"", stream=body)
                if not parser.complete and not await stream.pump(parser.feed, end, timeout.read):
                    if not parser.started:
                        raise self._lost(parser, None)
                    parser.finish()
                reply = Reply(parser.status, Headers(parser.headers), parser.content())
            except BaseException as error:
                # A connection that holds half an answer must not carry another call.
                self.drop(connection)
                may_repeat = kept and not parser.started and method in _IDEMPOTENT and not self._closed
                if may_repeat and _is_loss(error):
                    # The server may have acted on the request all the same, so only one that may be repeated
                    # is sent again here; a retry policy decides for others.
                    connection, kept = None, False
                    continue
                request = b""  # as above
                failure = self._failure(error, parser, phase, timeout, end)
                if failure is not None and parser.is_refusal:
                    # The status and the headers say what to do; a 401 must not be sent again.
                    return Reply(parser.status, Headers(parser.headers), unreadable(failure))
                if failure is None or failure is error:
                    raise
                raise failure from (error if isinstance(error, OSError) else None)
            self.give_back(connection)
            return reply

    async def _success_begins(self, connection: _Connection, call: Call, end: float) -> bool:
        """Wait for the head of a streamed answer; False for one that is to be read whole: it is an error."""
        parser, silence = connection.parser, call.timeout.read
        parser.by_pieces, parser.unbounded = True, call.unbounded
        if not parser.has_head and not await connection.stream.pump(parser.feed, end, silence):
            return False
        if parser.is_refusal:
            parser.by_pieces = parser.unbounded = False
        return parser.by_pieces

    async def read_piece(self, connection: _Connection, until: float) -> bytes:
        """What comes next of a streamed body, empty at its end; then the connection is for others again."""
        stream, parser = connection.stream, connection.parser
        try:
            while not (piece := parser.take()) and not parser.complete:
                if not await stream.pump(parser.feed, until, None):
                    parser.finish()
        except LimitReached:
            self.drop(connection)
            where = self._connector.where
            raise CallTimeout(f"{where} fell silent in the midst of an answer", "stall") from None
        except OSError as error:
            self.drop(connection)
            raise self._lost(parser, error) from error
        except BaseException:
            self.drop(connection)
            raise
        return piece

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer is complete, if it can be used again."""
        parser = connection.parser
        if not parser.reusable or self._closed:
            self.drop(connection)
            return
        if self._shortage.waiters:
            self._shortage.give_back((self, connection))
            return
        now, allowed, idle = self._now(), parser.keep_alive, self._idle
        connection.idle_until = now + (KEEP_ALIVE if allowed is None else min(KEEP_ALIVE, allowed))
        idle.append(connection)
        if len(idle) > self._max_idle or now > idle[0].idle_until:
            self.drop(idle.popleft())

    def drop(self, connection: _Connection) -> None:
        """Close a connection, which may make room for another one."""
        if connection.dropped:
            return
        connection.dropped = True
        connection.stream.abort()
        self.opened -= 1
        if self._shortage.waiters:
            self._shortage.give_back()

    def close_idle(self) -> int:
        """Close the connections that nobody uses; returns how many there were."""
        closed = len(self._idle)
        while self._idle:
            self.drop(self._idle.pop())
        return closed

    async def _new_connection(self, timeout: Timeout, end: float) -> tuple[_Connection, bool, float]:
        """A new connection; where this machine has none left, one that another attempt gives back.

        Returns it, whether it was used before, and the seconds for which it was waited for: they are not the
        endpoint's.
        """
        waited, again = 0.0, False
        while True:
            try:
                connection = await self._connect(timeout, end + waited)
                self.opened += 1
                return connection, False, waited
            except LocalResourceError as error:
                since = self._now()
                handed = await self._wait_for_connection(error, timeout.total, again)
                waited, again = waited + self._now() - since, True
            if handed is not None:
                origin, connection = handed
                if origin is self and not self._closed and connection.stream.sound():
                    return connection, True, waited
                origin.drop(connection)
            if self._closed:
                raise ClientStateError("this client was closed while calls were in flight")

    async def _connect(self, timeout: Timeout, end: float) -> _Connection:
        stream = self._connector.connect_at_once()
        if stream is not None:
            return _Connection(stream, self._max_bytes)
        for last_try in (False, True):
            limit = math.inf if timeout.connect is None else self._now() + timeout.connect
            with anyio.CancelScope(deadline=min(limit, end)):
                return _Connection(await self._connector.connect(), self._max_bytes)
            # An event loop that was blocked past the deadline has looked at no socket since. That says
            # nothing about the endpoint, which gets its time once more.
            if last_try or limit >= end or self._now() - limit <= _LOOP_LAG:
                break
        raise self._timed_out("connect", timeout, in_total=limit >= end)

    def _failure(
        self, error: BaseException, parser: ReplyParser, phase: str, timeout: Timeout, end: float
    ) -> CallError | None:
        """The `CallError` for what went wrong in an attempt; None for anything else, a cancellation say."""
        if isinstance(error, LimitReached):
            return self._timed_out(phase, timeout, in_total=self._now() >= end)
        if isinstance(error, OSError):
            return self._lost(parser, error)
        return error if isinstance(error, CallError) else None

    def _lost(self, parser: ReplyParser, error: OSError | None) -> CallError:
        """The error for a connection that ended too early."""
        where = self._connector.where
        if refuses_certificate(error):
            return TLSError(
                f"{where} refuses this client's certificate, or that it has none ({error.reason}); "
                "NativeTransport(ssl_context=…) takes a context with the right one"
            )
        how = "closed the connection" if error is None else f"lost the connection ({error.strerror or error})"
        if parser.started:
            return IncompleteReply(f"{where} {how} before the answer was complete")
        lost = ConnectError(f"{where} {how} before it answered")
        lost.sent = True
        return lost

    def _timed_out(self, phase: str, timeout: Timeout, *, in_total: bool) -> CallTimeout:
        where = self._connector.where
        if in_total:
            return CallTimeout(
                f"no complete answer from {where} within {timeout.total:g} s ({phase}); raise timeout=",
                phase if phase == "connect" else "total",
            )
        limit: float = getattr(timeout, phase)
        return CallTimeout(f"{phase} timeout: {where} was silent for {limit:g} s", phase)

    def _take(self, now: float) -> _Connection | None:
        """The connection used last, the likeliest to be sound; None where there is none to be used again."""
        while self._idle:
            connection = self._idle.pop()
            if now < connection.idle_until and connection.stream.sound():
                return connection
            self.drop(connection)
        return None

    def close(self) -> None:
        self._closed = True
        self.close_idle()


def _is_loss(error: BaseException) -> bool:
    return isinstance(error, (OSError, ConnectError))
