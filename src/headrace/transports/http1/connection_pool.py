"""HTTP/1.1: attempts over connections that carry one at a time; a LIFO pool of idle ones per endpoint."""

from __future__ import annotations

import math
from collections import deque

from headrace._support.clock import running_clock
from headrace.calls import Call, Timeout
from headrace.errors import CallError, CallTimeout, ClientStateError, ConnectError
from headrace.replies import Headers, Reply
from headrace.transports.connecting.connector import connection_lost
from headrace.transports.connecting.local_limits import local_resource_error
from headrace.transports.connecting.timed_connector import Opener, Shared, timed_out
from headrace.transports.content_encoding import unreadable
from headrace.transports.event_loops.poller import Poller
from headrace.transports.http1.response_parser import ReplyParser
from headrace.transports.request_writer import Http1Writer
from headrace.transports.sockets.byte_stream import LimitReached, Stream
from headrace.transports.sockets.tls_session import HTTP1
from headrace.transports.sockets.watched_socket import Connected

KEEP_ALIVE = 60.0
"""Seconds that a connection is kept idle where the endpoint does not say; load balancers allow 60 to 350."""

CLOSED = "this client was closed while calls were in flight"

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class Http1Connection:
    """A stream, and the parser of what comes over it."""

    __slots__ = ("dropped", "idle_until", "parser", "stream")

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self.stream = stream
        self.parser = ReplyParser(max_bytes)
        self.idle_until = 0.0
        self.dropped = False


class StreamedBody:
    """See `headrace.replies.Body`."""

    def __init__(self, origin: Http1Pool, connection: Http1Connection) -> None:
        self._origin = origin
        self._connection: Http1Connection | None = connection

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


class Http1Pool:
    """One endpoint's connections of HTTP/1.1, and attempts over them."""

    def __init__(
        self,
        opener: Opener,
        writer: Http1Writer,
        poller: Poller,
        shared: Shared,
        *,
        max_idle: int,
        max_bytes: int,
    ) -> None:
        self._opener = opener
        self._where = opener.where
        self._writer = writer
        self._poller = poller
        self._shortage = shared.shortage
        self._max_idle = max_idle
        self._max_bytes = max_bytes
        self._now = running_clock()
        self._idle: deque[Http1Connection] = deque()
        self._closed = False
        self.opened = 0
        shared.pools.append(self)

    async def send(self, call: Call, opened: Connected | None = None) -> Reply:
        """Make one attempt, over ``opened`` where a connection is there for it; see `Transport.send`."""
        method = call.request.method
        request = self._writer.write(call.request, call.content, streamed=call.streamed)
        if self._closed:
            raise ClientStateError(CLOSED)
        start = self._now()
        timeout = call.timeout
        end = math.inf if timeout.total is None else start + timeout.total
        connection = self._take(start) if opened is None else None
        kept = connection is not None
        while True:
            if connection is None:
                try:
                    connection, kept, waited = await self._new_connection(timeout, end, opened)
                    end += waited
                    opened = None
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

    async def _success_begins(self, connection: Http1Connection, call: Call, end: float) -> bool:
        """Wait for the head of a streamed answer; False for one that is to be read whole: it is an error."""
        parser, silence = connection.parser, call.timeout.read
        parser.by_pieces, parser.unbounded = True, call.unbounded
        if not parser.has_head and not await connection.stream.pump(parser.feed, end, silence):
            return False
        if parser.is_refusal:
            parser.by_pieces = parser.unbounded = False
        return parser.by_pieces

    async def read_piece(self, connection: Http1Connection, until: float) -> bytes:
        """What comes next of a streamed body, empty at its end; then the connection is for others again."""
        stream, parser = connection.stream, connection.parser
        try:
            while not (piece := parser.take()) and not parser.complete:
                if not await stream.pump(parser.feed, until, None):
                    parser.finish()
        except LimitReached:
            self.drop(connection)
            where = self._where
            raise CallTimeout(f"{where} fell silent in the midst of an answer", "stall") from None
        except OSError as error:
            self.drop(connection)
            raise self._lost(parser, error) from error
        except BaseException:
            self.drop(connection)
            raise
        return piece

    def give_back(self, connection: Http1Connection) -> None:
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

    def drop(self, connection: Http1Connection) -> None:
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

    async def _new_connection(
        self, timeout: Timeout, end: float, connected: Connected | None
    ) -> tuple[Http1Connection, bool, float]:
        """A new connection; where this machine has none left, one that another attempt gives back.

        Returns it, whether it was used before, and the seconds for which it was waited for: they are not the
        endpoint's.
        """
        connected = connected or self._opener.at_once()
        if connected is not None:
            return self.adopt(connected), False, 0.0
        waited, again = 0.0, False
        while True:
            opened = await self._opener.open((HTTP1,), timeout, end + waited, again=again)
            if opened.connected is not None:
                return self.adopt(opened.connected), False, waited
            waited, again = waited + opened.waited, True
            if opened.handed is not None:
                pool, connection = opened.handed
                if pool is self and not self._closed and connection.stream.sound():
                    return connection, True, waited
                pool.drop(connection)
            if self._closed:
                raise ClientStateError(CLOSED)

    def adopt(self, connected: Connected) -> Http1Connection:
        """Make a connected socket one of this pool's connections."""
        try:
            connection = Http1Connection(Stream(connected, self._poller), self._max_bytes)
        except OSError as error:
            connected.raw_socket.close()
            raise local_resource_error(error, self._where) or error from error
        self.opened += 1
        return connection

    def _failure(
        self, error: BaseException, parser: ReplyParser, phase: str, timeout: Timeout, end: float
    ) -> CallError | None:
        """The `CallError` for what went wrong in an attempt; None for anything else, a cancellation say."""
        if isinstance(error, LimitReached):
            return timed_out(self._where, phase, timeout, in_total=self._now() >= end)
        if isinstance(error, OSError):
            return self._lost(parser, error)
        return error if isinstance(error, CallError) else None

    def _lost(self, parser: ReplyParser, error: OSError | None) -> CallError:
        """The error for a connection that ended too early."""
        how = "closed the connection" if error is None else f"lost the connection ({error.strerror or error})"
        return connection_lost(self._where, how, error, answering=parser.started)

    def _take(self, now: float) -> Http1Connection | None:
        """The connection used last, the likeliest to be sound; None where there is none to be used again."""
        while self._idle:
            connection = self._idle.pop()
            if now < connection.idle_until and connection.stream.sound():
                return connection
            self.drop(connection)
        return None

    def close(self) -> None:
        """Close, and open no more."""
        self._closed = True
        self.close_idle()


def _is_loss(error: BaseException) -> bool:
    return isinstance(error, (OSError, ConnectError))
