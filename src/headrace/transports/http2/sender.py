"""Attempts over HTTP/2, where a connection carries many at once."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import Any

from headrace._support.clock import running_clock
from headrace.calls import Call, Timeout
from headrace.errors import CallError, ConnectError, ProtocolError
from headrace.replies import Headers, Reply
from headrace.transports.connecting.connection_errors import (
    connection_lost_error,
    stall_error,
    timeout_error,
)
from headrace.transports.content_encoding import unreadable_body_note
from headrace.transports.http1.connection_pool import Http1Pool
from headrace.transports.http2.connection import Http2Connection
from headrace.transports.http2.connection_pool import Http1Negotiated, Http2Pool
from headrace.transports.http2.stream import Http1Required, Http2Stream, RequestNotProcessed, StreamLost
from headrace.transports.request_writer import Http2Writer
from headrace.transports.sockets.watched_socket import ConnectedSocket, DeadlinePassed

MAX_SENDS = 4
"""How often a request is sent if the server refuses it each time without processing it."""


class Http2Body:
    """The body of a streamed response; see `headrace.replies.Body`."""

    def __init__(self, sender: Http2Sender, connection: Http2Connection, stream: Http2Stream) -> None:
        self._sender = sender
        self._connection = connection
        self._stream = stream

    async def receive(self, until: float) -> bytes:
        return await self._sender.read_part(self._connection, self._stream, until)

    async def aclose(self) -> None:
        self._connection.cancel_stream(self._stream)


class Http2Sender:
    """Makes attempts at one endpoint over the connections of a pool.

    If the server speaks only HTTP/1.1, or violates HTTP/2, ``http1`` makes all later attempts. If ``http1``
    is None, that is an error.
    """

    def __init__(
        self, pool: Http2Pool, writer: Http2Writer, http1: Http1Pool | None, *, max_bytes: int
    ) -> None:
        self._pool = pool
        self._where = pool.where
        self._writer = writer
        self._http1 = http1
        self._use_http1 = False
        self._max_bytes = max_bytes
        self._now = running_clock()

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Make one attempt; see `Transport.send`."""
        if self._use_http1 and self._http1 is not None:
            return self._http1.send(call)
        return self._send_http2(call)

    async def _send_http2(self, call: Call) -> Reply:
        fields = self._writer.fields(call.request, call.content, streamed=call.streamed)
        timeout = call.timeout
        end = math.inf if timeout.total is None else self._now() + timeout.total
        for _ in range(MAX_SENDS):
            stream = Http2Stream(self._max_bytes)
            phase = "write"
            connection = self._pool.acquire_nowait()
            try:
                if connection is None:
                    connection, waited = await self._pool.acquire(timeout, end)
                    end += waited
                stream.streaming, stream.unbounded = call.streamed, call.unbounded
                connection.send_request(stream, fields, call.content, track_upload=timeout.write is not None)
                if not connection.is_request_sent(stream):
                    limit = math.inf if timeout.write is None else self._now() + timeout.write
                    await self._wait_until_sent(connection, stream, min(end, limit))
                phase = "read"
                while not stream.complete:
                    if stream.streaming and stream.status:
                        if not stream.is_error:
                            return self._reply(stream, b"", Http2Body(self, connection, stream))
                        connection.stop_streaming(stream)
                    if stream.failure is not None:
                        raise stream.failure
                    await connection.new_waiter(stream, end, timeout.read)
                return self._reply(stream, stream.content())
            except RequestNotProcessed as refusal:
                if isinstance(refusal, Http1Required):
                    fields = []  # as below
                    if self._http1 is not None:
                        return await self._send_http1(call, None)
                    message = f"{self._where} asks for HTTP/1.1; leave http2 at 'auto'"
                    raise ProtocolError(message) from None
            except Http1Negotiated as negotiated:
                return await self._send_http1(call, negotiated.connected)
            except BaseException as error:
                fields = []  # they hold the key, and some tools show the variables of a traceback
                if connection is None:
                    raise
                connection.cancel_stream(stream)
                failure = self._call_error(error, stream, phase, timeout, end)
                if failure is not None and stream.is_error:
                    # The status is enough to decide what to do; a 401 must not be sent again.
                    return self._reply(stream, unreadable_body_note(failure))
                if failure is None or failure is error:
                    raise
                raise failure from None
        fields = []  # as above
        raise ConnectError(f"{self._where} refused the request {MAX_SENDS} times, and has not processed it")

    async def _send_http1(self, call: Call, connected: ConnectedSocket | None) -> Reply:
        assert self._http1 is not None
        self._use_http1 = True
        return await self._http1.send(call, connected)

    async def _wait_until_sent(
        self, connection: Http2Connection, stream: Http2Stream, deadline: float
    ) -> None:
        """Wait until the peer has received the request, or has already answered it."""
        while True:
            if stream.failure is not None:
                raise stream.failure
            if stream.complete or stream.unread or connection.is_request_sent(stream):
                return
            await connection.new_waiter(stream, deadline, None)

    def _reply(self, stream: Http2Stream, content: bytes, body: Http2Body | None = None) -> Reply:
        return Reply(stream.status, Headers(stream.headers), content, stream=body, http_version="HTTP/2")

    async def read_part(self, connection: Http2Connection, stream: Http2Stream, until: float) -> bytes:
        """The next part of a streamed body, empty at its end."""
        try:
            while not (part := connection.take_body(stream)) and not stream.complete:
                if stream.failure is None:
                    await connection.new_waiter(stream, until, None)
                if stream.failure is not None and not stream.unread:
                    raise stream.failure
        except BaseException as error:
            connection.cancel_stream(stream)
            if isinstance(error, DeadlinePassed):
                raise stall_error(self._where) from None
            failure = self._call_error(error, stream, "read", Timeout(), math.inf)
            if failure is None or failure is error:
                raise
            raise failure from None
        return part

    def _call_error(
        self, error: BaseException, stream: Http2Stream, phase: str, timeout: Timeout, end: float
    ) -> CallError | None:
        """The `CallError` for an error of an attempt, or None, for example for a cancellation."""
        if isinstance(stream.failure, ProtocolError):
            self._use_http1 = self._http1 is not None  # it may work better
        if isinstance(error, DeadlinePassed):
            return timeout_error(self._where, phase, timeout, in_total=self._now() >= end)
        if isinstance(error, StreamLost):
            started = stream.has_head
            return connection_lost_error(self._where, str(error), error.__cause__, response_started=started)
        return error if isinstance(error, CallError) else None
