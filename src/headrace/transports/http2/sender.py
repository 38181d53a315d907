"""HTTP/2: attempts over connections that carry many at once."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import Any

from headrace._support.clock import running_clock
from headrace.calls import Call, Timeout
from headrace.errors import CallError, CallTimeout, ConnectError, ProtocolError
from headrace.replies import Headers, Reply
from headrace.transports.connecting.connector import connection_lost
from headrace.transports.connecting.timed_connector import timed_out
from headrace.transports.content_encoding import unreadable
from headrace.transports.http1.connection_pool import Http1Pool
from headrace.transports.http2.connection import Http2Connection
from headrace.transports.http2.connection_pool import Http2Pool, SpeaksHttp1
from headrace.transports.http2.stream import Exchange, Lost, Unprocessed, WantsHttp1
from headrace.transports.request_writer import Http2Writer
from headrace.transports.sockets.byte_stream import LimitReached
from headrace.transports.sockets.watched_socket import Connected

MOST_SENDS = 4
"""Times that a request is sent that the server says it has not processed: once, and three times more."""


class StreamedBody:
    """See `headrace.replies.Body`."""

    def __init__(self, sender: Http2Sender, connection: Http2Connection, exchange: Exchange) -> None:
        self._sender = sender
        self._connection = connection
        self._exchange = exchange

    async def receive(self, until: float) -> bytes:
        return await self._sender.read_piece(self._connection, self._exchange, until)

    async def aclose(self) -> None:
        self._connection.forget(self._exchange)


class Http2Sender:
    """Makes attempts at one endpoint over the connections of a pool.

    Where the server turns out to speak HTTP/1.1 only, or breaks HTTP/2, ``http1`` makes the attempts from
    then on; None: that is an error.
    """

    def __init__(
        self, pool: Http2Pool, writer: Http2Writer, http1: Http1Pool | None, *, max_bytes: int
    ) -> None:
        self._pool = pool
        self._where = pool.where
        self._writer = writer
        self._http1 = http1
        self._speaks_http1 = False
        self._max_bytes = max_bytes
        self._now = running_clock()

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Make one attempt; see `Transport.send`."""
        if self._speaks_http1 and self._http1 is not None:
            return self._http1.send(call)
        return self._attempt(call)

    async def _attempt(self, call: Call) -> Reply:
        fields = self._writer.fields(call.request, call.content, streamed=call.streamed)
        timeout = call.timeout
        end = math.inf if timeout.total is None else self._now() + timeout.total
        for _ in range(MOST_SENDS):
            exchange = Exchange(self._max_bytes)
            phase = "write"
            connection = self._pool.reserved()
            try:
                if connection is None:
                    connection, waited = await self._pool.wait_for_room(timeout, end)
                    end += waited
                exchange.by_pieces, exchange.unbounded = call.streamed, call.unbounded
                connection.begin(exchange, fields, call.content, watched=timeout.write is not None)
                if not connection.handed_over(exchange):
                    limit = math.inf if timeout.write is None else self._now() + timeout.write
                    await self._hand_over(connection, exchange, min(end, limit))
                phase = "read"
                while not exchange.complete:
                    if exchange.by_pieces and exchange.status:
                        if not exchange.is_refusal:
                            return self._reply(exchange, b"", StreamedBody(self, connection, exchange))
                        connection.read_whole(exchange)
                    if exchange.failure is not None:
                        raise exchange.failure
                    await connection.waiter(exchange, end, timeout.read)
                return self._reply(exchange, exchange.content())
            except Unprocessed as refusal:
                if isinstance(refusal, WantsHttp1):
                    fields = []  # as below
                    if self._http1 is not None:
                        return await self._over_http1(call, None)
                    wanted = f"{self._where} asks for HTTP/1.1; leave http2 at 'auto'"
                    raise ProtocolError(wanted) from None
            except SpeaksHttp1 as other:
                return await self._over_http1(call, other.connected)
            except BaseException as error:
                fields = []  # they hold the key, and there are tools that show a traceback's variables
                if connection is None:
                    raise
                connection.forget(exchange)
                failure = self._failure(error, exchange, phase, timeout, end)
                if failure is not None and exchange.is_refusal:
                    # The status and the headers say what to do; a 401 must not be sent again.
                    return self._reply(exchange, unreadable(failure))
                if failure is None or failure is error:
                    raise
                raise failure from None
        fields = []  # as above
        raise ConnectError(f"{self._where} refused the request {MOST_SENDS} times, and has not processed it")

    async def _over_http1(self, call: Call, connected: Connected | None) -> Reply:
        assert self._http1 is not None
        self._speaks_http1 = True
        return await self._http1.send(call, connected)

    async def _hand_over(self, connection: Http2Connection, exchange: Exchange, limit: float) -> None:
        """Wait until the other side has taken the request, or has answered already."""
        while True:
            if exchange.failure is not None:
                raise exchange.failure
            if exchange.complete or exchange.unread or connection.handed_over(exchange):
                return
            await connection.waiter(exchange, limit, None)

    def _reply(self, exchange: Exchange, content: bytes, stream: StreamedBody | None = None) -> Reply:
        return Reply(
            exchange.status, Headers(exchange.headers), content, stream=stream, http_version="HTTP/2"
        )

    async def read_piece(self, connection: Http2Connection, exchange: Exchange, until: float) -> bytes:
        """What comes next of a streamed body, empty at its end."""
        try:
            while not (piece := connection.take(exchange)) and not exchange.complete:
                if exchange.failure is None:
                    await connection.waiter(exchange, until, None)
                if exchange.failure is not None and not exchange.unread:
                    raise exchange.failure
        except BaseException as error:
            connection.forget(exchange)
            if isinstance(error, LimitReached):
                raise CallTimeout(f"{self._where} fell silent in the midst of an answer", "stall") from None
            failure = self._failure(error, exchange, "read", Timeout(), math.inf)
            if failure is None or failure is error:
                raise
            raise failure from None
        return piece

    def _failure(
        self, error: BaseException, exchange: Exchange, phase: str, timeout: Timeout, end: float
    ) -> CallError | None:
        """The `CallError` for what went wrong in an attempt; None for anything else, a cancellation say."""
        if isinstance(exchange.failure, ProtocolError):
            self._speaks_http1 = self._http1 is not None  # which it may speak better
        if isinstance(error, LimitReached):
            return timed_out(self._where, phase, timeout, in_total=self._now() >= end)
        if isinstance(error, Lost):
            return connection_lost(self._where, str(error), error.__cause__, answering=exchange.has_head)
        return error if isinstance(error, CallError) else None
