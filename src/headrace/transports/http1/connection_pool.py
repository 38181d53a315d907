"""HTTP/1.1: attempts over connections that carry one at a time, and a LIFO pool of idle ones per endpoint."""

from __future__ import annotations

import math
from collections import deque

from anyio.lowlevel import checkpoint

from headrace._support.clock import running_clock
from headrace.calls import Call, Content, Timeout, content_parts
from headrace.errors import CallError, ClientStateError, ConnectError
from headrace.replies import Headers, Reply
from headrace.transports.connecting.connection_errors import (
    CLOSED,
    connection_lost_error,
    stall_error,
    timeout_error,
)
from headrace.transports.connecting.local_limits import local_resource_error
from headrace.transports.connecting.pool_group import PoolGroup
from headrace.transports.connecting.timed_connector import TimedConnector
from headrace.transports.content_encoding import unreadable_body_note
from headrace.transports.event_loops.poller import Poller
from headrace.transports.http1.response_parser import ResponseParser
from headrace.transports.request_writer import Http1Writer
from headrace.transports.sockets.byte_stream import ByteStream
from headrace.transports.sockets.tls_session import HTTP1
from headrace.transports.sockets.watched_socket import ConnectedSocket, DeadlinePassed

KEEP_ALIVE = 60.0
"""Seconds to keep an idle connection without a ``Keep-Alive`` header; load balancers allow 60 to 350."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class Http1Connection:
    """A byte stream, and the parser of its responses."""

    __slots__ = ("discarded", "idle_until", "parser", "stream")

    def __init__(self, stream: ByteStream, max_bytes: int) -> None:
        self.stream: ByteStream = stream
        self.parser: ResponseParser = ResponseParser(max_bytes)
        self.idle_until: float = 0.0
        self.discarded: bool = False


class Http1Body:
    """The body of a streamed response; see `headrace.replies.Body`."""

    def __init__(self, pool: Http1Pool, connection: Http1Connection) -> None:
        self._pool = pool
        self._connection: Http1Connection | None = connection

    async def receive(self, until: float) -> bytes:
        if self._connection is None:
            return b""
        part = await self._pool.read_part(self._connection, until)
        if not part:
            self._pool.release(self._connection)
            self._connection = None
        return part

    async def aclose(self) -> None:
        if self._connection is not None:
            self._pool.discard(self._connection)
            self._connection = None


class Http1Pool:
    """The HTTP/1.1 connections of one endpoint, and attempts over them."""

    def __init__(
        self,
        connector: TimedConnector,
        writer: Http1Writer,
        poller: Poller,
        pool_group: PoolGroup,
        *,
        max_idle: int,
        max_bytes: int,
    ) -> None:
        self._connector = connector
        self._where = connector.where
        self._writer = writer
        self._poller = poller
        self._shortage = pool_group.shortage
        self._max_idle = max_idle
        self._max_bytes = max_bytes
        self._now = running_clock()
        self._idle: deque[Http1Connection] = deque()
        self._closed = False
        self.open_count: int = 0
        pool_group.pools.append(self)

    async def send(self, call: Call, connected: ConnectedSocket | None = None) -> Reply:
        """Make one attempt, over ``connected`` if it is not None; see `Transport.send`."""
        method = call.request.method
        request = self._writer.write(call.request, call.content, streamed=call.streamed)
        if self._closed:
            raise ClientStateError(CLOSED)
        start = self._now()
        timeout = call.timeout
        end = math.inf if timeout.total is None else start + timeout.total
        connection = self._acquire_idle(start) if connected is None else None
        reused = connection is not None
        while True:
            if connection is None:
                try:
                    connection, reused, waited = await self._new_connection(call, end, connected)
                    end += waited
                    connected = None
                except BaseException:
                    request = b""  # it holds the key, and some tools show the variables of a traceback
                    raise
            stream, parser = connection.stream, connection.parser
            parser.begin(method)
            phase = "write"
            try:
                if not isinstance(call.content, bytes) or not stream.send_nowait(request):
                    limit = math.inf if timeout.write is None else self._now() + timeout.write
                    if not await _send_parts(connection, request, call.content, min(end, limit)):
                        parser.disable_reuse()
                phase = "read"
                if call.streamed and await self._receive_success_head(connection, call, end):
                    body = Http1Body(self, connection)
                    return Reply(parser.status, Headers(parser.headers), b"", stream=body)
                if not parser.complete and not await stream.receive_into(parser.feed, end, timeout.read):
                    if not parser.started:
                        raise self._lost_error(parser, None)
                    parser.finish()
                reply = Reply(parser.status, Headers(parser.headers), parser.content())
            except BaseException as error:
                # A connection with half a response must not carry another call.
                self.discard(connection)
                may_repeat = reused and not parser.started and method in _IDEMPOTENT and not self._closed
                if may_repeat and _is_connection_loss(error):
                    # The server may have processed the request, so only idempotent requests are sent again
                    # here. A retry policy decides for the others.
                    connection, reused = None, False
                    continue
                request = b""  # as above
                failure = self._call_error(error, parser, phase, timeout, end)
                if failure is not None and parser.is_error:
                    # The status is enough to decide what to do; a 401 must not be sent again.
                    note = unreadable_body_note(failure)
                    return Reply(parser.status, Headers(parser.headers), note)
                if failure is None or failure is error:
                    raise
                raise failure from (error if isinstance(error, OSError) else None)
            self.release(connection)
            return reply

    async def _receive_success_head(self, connection: Http1Connection, call: Call, end: float) -> bool:
        """Wait for the head of a streamed response. False for an error response, which is read as a whole."""
        parser, max_silence = connection.parser, call.timeout.read
        parser.streaming, parser.unbounded = True, call.unbounded
        if not parser.has_head and not await connection.stream.receive_into(parser.feed, end, max_silence):
            return False
        if parser.is_error:
            parser.streaming = parser.unbounded = False
        return parser.streaming

    async def read_part(self, connection: Http1Connection, until: float) -> bytes:
        """The next part of a streamed body; empty at its end. The caller must then release the connection."""
        stream, parser = connection.stream, connection.parser
        try:
            while not (part := parser.take_body()) and not parser.complete:
                if not await stream.receive_into(parser.feed, until, None):
                    parser.finish()
        except DeadlinePassed:
            self.discard(connection)
            raise stall_error(self._where) from None
        except OSError as error:
            self.discard(connection)
            raise self._lost_error(parser, error) from error
        except BaseException:
            self.discard(connection)
            raise
        return part

    def release(self, connection: Http1Connection) -> None:
        """Keep a connection whose response is complete, if it can be reused."""
        parser = connection.parser
        if not parser.reusable or self._closed:
            self.discard(connection)
            return
        if self._shortage.waiters:
            self._shortage.release((self, connection))
            return
        now, allowed, idle = self._now(), parser.keep_alive, self._idle
        connection.idle_until = now + (KEEP_ALIVE if allowed is None else min(KEEP_ALIVE, allowed))
        idle.append(connection)
        if len(idle) > self._max_idle or now > idle[0].idle_until:
            self.discard(idle.popleft())

    def discard(self, connection: Http1Connection) -> None:
        """Close a connection. An attempt that waits for a connection may open another one."""
        if connection.discarded:
            return
        connection.discarded = True
        connection.stream.abort()
        self.open_count -= 1
        if self._shortage.waiters:
            self._shortage.release()

    def close_idle(self) -> int:
        """Close the idle connections. Returns how many there were."""
        closed = len(self._idle)
        while self._idle:
            self.discard(self._idle.pop())
        return closed

    async def _new_connection(
        self, call: Call, end: float, connected: ConnectedSocket | None
    ) -> tuple[Http1Connection, bool, float]:
        """A new connection, or one that another attempt releases if this machine has none left.

        Returns the connection, whether it was used before, and the seconds for which this machine had none;
        they extend the attempt's total timeout.
        """
        connected = connected or self._connector.connect_nowait()
        if connected is not None:
            return self.adopt(connected), False, 0.0
        waited, again = 0.0, False
        while True:
            result = await self._connector.connect_or_wait((HTTP1,), call, end + waited, again=again)
            if result.connected is not None:
                return self.adopt(result.connected), False, waited
            waited, again = waited + result.waited, True
            if result.released is not None:
                pool, connection = result.released
                if pool is self and not self._closed and connection.stream.is_usable():
                    return connection, True, waited
                pool.discard(connection)
            if self._closed:
                raise ClientStateError(CLOSED)

    def adopt(self, connected: ConnectedSocket) -> Http1Connection:
        """Make a connection of this pool from a connected socket."""
        try:
            connection = Http1Connection(ByteStream(connected, self._poller), self._max_bytes)
        except OSError as error:
            connected.raw_socket.close()
            raise local_resource_error(error, self._where) or error from error
        self.open_count += 1
        return connection

    def _call_error(
        self, error: BaseException, parser: ResponseParser, phase: str, timeout: Timeout, end: float
    ) -> CallError | None:
        """The `CallError` for an error of an attempt, or None, for example for a cancellation."""
        if isinstance(error, DeadlinePassed):
            return timeout_error(self._where, phase, timeout, in_total=self._now() >= end)
        if isinstance(error, OSError):
            return self._lost_error(parser, error)
        return error if isinstance(error, CallError) else None

    def _lost_error(self, parser: ResponseParser, error: OSError | None) -> CallError:
        """The error for a connection that ended too early."""
        how = "closed the connection" if error is None else f"lost the connection ({error.strerror or error})"
        return connection_lost_error(self._where, how, error, response_started=parser.started)

    def _acquire_idle(self, now: float) -> Http1Connection | None:
        """The connection used last, which is most likely still open, or None if none is usable."""
        while self._idle:
            connection = self._idle.pop()
            if now < connection.idle_until and connection.stream.is_usable():
                return connection
            self.discard(connection)
        return None

    def close(self) -> None:
        """Close, and open no more connections."""
        self._closed = True
        self.close_idle()


async def _send_parts(connection: Http1Connection, request: bytes, content: Content, limit: float) -> bool:
    """Send a request, and the parts of its body one after the other; see `ByteStream.send`."""
    feed = connection.parser.feed
    sent = await connection.stream.send(request, feed, limit)
    request = b""  # it holds the key, and some tools show the variables of a traceback
    parts = () if isinstance(content, bytes) else content_parts(content)
    for part in parts:
        if not sent:
            break
        sent = await connection.stream.send(part, feed, limit)
        await checkpoint()  # a fast network accepts each part at once
    return sent


def _is_connection_loss(error: BaseException) -> bool:
    return isinstance(error, (OSError, ConnectError))
