"""A stream over an asyncio transport, uvloop's included.

anyio's own stops and starts the reading with two system calls and one more turn of the loop for each answer,
a third of the time of a call. This protocol leaves it on, and parses in the loop's callback, so that a task
is woken once an answer.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import deque
from socket import socket
from typing import cast

from headrace.transports.streams import MOST_TOGETHER, Feed, LimitReached, Probe, Timed

_SMALL = 32 * 1024
"""Bytes of a request that a transport takes without pausing its writer: half of asyncio's own limit."""


class AsyncioStreams:
    """See `headrace.transports.streams.Streams`."""

    def __init__(self) -> None:
        self._outgoing: list[tuple[asyncio.Transport, bytes]] = []

    def write_soon(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write together with what other tasks that are ready write; see `MOST_TOGETHER`."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._write_all)
        self._outgoing.append((transport, data))
        if len(self._outgoing) == MOST_TOGETHER:
            self._write_all()

    def _write_all(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        for transport, data in outgoing:
            if not transport.is_closing():
                transport.write(data)

    async def over(self, raw_socket: socket, context: ssl.SSLContext | None, host: str) -> AsyncioStream:
        """See `Streams.over`."""
        _, stream = await asyncio.get_running_loop().create_connection(
            functools.partial(AsyncioStream, self),
            sock=raw_socket,
            ssl=context,
            server_hostname=host if context else None,
        )
        return stream

    async def aclose(self) -> None:
        """Nothing to end: the loop has the timers."""


class AsyncioStream(asyncio.Protocol, Timed):
    """See `headrace.transports.streams.Stream`."""

    def __init__(self, streams: AsyncioStreams) -> None:
        super().__init__()
        self._write_soon = streams.write_soon
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._early: deque[bytes] = deque()
        self._feed: Feed | None = None
        self._silence: float | None = None
        self._end = 0.0
        self._waiter: asyncio.Future[bool] | None = None
        self._blocked = False
        self._paused = False
        self._ended = False
        self._lost: OSError | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._probe = Probe(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        feed = self._feed
        if feed is None:
            if self._early:
                # Nobody waits for it: let no server fill this process's memory.
                self._transport.pause_reading()
                self._paused = True
            self._early.append(data)
            return
        try:
            if feed(data):
                self._wake(True)
            elif self._silence is not None:
                self._until = min(self._end, self._loop.time() + self._silence)
        except Exception as error:
            self._fail(error)

    def eof_received(self) -> bool:
        self._ended = True
        self._wake(False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if isinstance(exc, OSError):
            self._lost = exc
            self._fail(exc)
        else:
            self._wake(False)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self._feed is None:
            self._wake(True)

    # Who is waiting, and what ends that.

    async def _wait(self) -> bool:
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        try:
            return await waiter
        finally:
            self._waiter = self._feed = None

    def _wake(self, result: bool) -> None:
        self._feed = None  # what comes next is for the next who asks
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(result)

    def _fail(self, error: Exception) -> None:
        self._feed = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.ring(self._loop.time())

    def _expire(self) -> None:
        self._fail(LimitReached())

    # What the transport calls.

    async def send(self, data: bytes, until: float) -> None:
        if self._ended:
            raise self._lost or ConnectionResetError("closed by the other side")
        if len(data) <= _SMALL:
            self._write_soon(self._transport, data)
            return
        self._transport.write(data)
        if self._blocked:
            self._limit(until)
            if not await self._wait():
                raise self._lost or ConnectionResetError("closed by the other side")

    async def pump(self, feed: Feed, until: float, silence: float | None) -> bool:
        while self._early:
            enough = feed(self._early.popleft())
            if self._paused and not self._early:
                self._paused = False
                self._transport.resume_reading()
            if enough:
                return True
        if self._lost is not None:
            raise self._lost
        if self._ended:
            return False
        self._feed, self._silence, self._end = feed, silence, until
        self._limit(until if silence is None else min(until, self._loop.time() + silence))
        return await self._wait()

    def sound(self) -> bool:
        # The loop tells of a closed connection only in its next turn, and none has come since the caller's
        # own blocking work; so the socket is asked as well.
        return not self._ended and not self._early and self._probe.silent()

    def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
