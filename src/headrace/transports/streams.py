"""Byte streams as the native transport wants them: one over anyio, and a shorter way on asyncio.

Both fail with `OSError` and nothing else (ssl.SSLError is one), and both can tell, without waiting, whether
an idle connection is still sound. anyio's own stream on asyncio stops and starts the reading with two
system calls and one more turn of the loop for each answer, which is a third of the time of a call; the
protocol here leaves it on.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
from collections import deque
from types import TracebackType
from typing import Protocol, Self, cast

import anyio
import anyio.abc

MAX_READ = 64 * 1024


class Limit(Protocol):
    """A context manager that ends what waits in its block once the clock reaches ``deadline``."""

    deadline: float

    @property
    def cancelled_caught(self) -> bool:
        """After the block: whether it ended that way."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None: ...


class Stream(Protocol):
    """A connection's two directions."""

    def limit(self, deadline: float) -> Limit:
        """A limit in time (on anyio's clock) for what is sent and received in its block; one at a time."""

    async def send(self, data: bytes) -> None:
        """Hand all of ``data`` over; raises `OSError` if the connection is lost."""

    async def receive(self) -> bytes:
        """Some bytes, none at the end; raises `OSError` if the connection is lost."""

    def sound(self) -> bool:
        """For an idle connection: False where the other side closed it, or sent what nobody asked for."""

    async def abort(self) -> None:
        """Close at once, without a word to the other side."""


class AnyioStream:
    """Over anyio's byte stream: the portable way."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._poll = _poll_of(stream.extra(anyio.abc.SocketAttribute.raw_socket))

    def limit(self, deadline: float) -> Limit:
        return anyio.CancelScope(deadline=deadline)

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except anyio.BrokenResourceError as error:
            raise ConnectionResetError(*_reason(error)) from error

    async def receive(self) -> bytes:
        try:
            return await self._stream.receive(MAX_READ)
        except anyio.EndOfStream:
            return b""
        except anyio.BrokenResourceError as error:
            raise ConnectionResetError(*_reason(error)) from error

    def sound(self) -> bool:
        return not self._poll.poll(0)

    async def abort(self) -> None:
        await anyio.aclose_forcefully(self._stream)


def _poll_of(raw_socket: socket.socket) -> select.poll:
    poll = select.poll()
    poll.register(raw_socket.fileno(), select.POLLIN | select.POLLPRI)
    return poll


def _reason(error: BaseException) -> tuple[object, ...]:
    return error.__cause__.args if error.__cause__ else ()


class _LimitReached(Exception):
    """Ends the block of an `AsyncioStream`'s limit, and goes no further."""


class AsyncioStream(asyncio.Protocol):
    """Over an asyncio transport, uvloop's included; its own limit in time.

    A cancel scope for each attempt takes a tenth of a call's time, most of it for a timer that is set and
    cancelled again. Here one timer a connection is left to ring, and then looks whether there is still
    something to end, or when to look again.
    """

    def __init__(self) -> None:
        self._received: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._paused = False
        self._ended = False
        self._lost: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self.deadline = math.inf
        self.cancelled_caught = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._poll = _poll_of(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self._reader is None and self._received:
            # Nobody waits for it: let no server fill this process's memory.
            self._transport.pause_reading()
            self._paused = True
        self._received.append(data)
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if isinstance(exc, OSError):
            self._lost = exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writer = self._loop.create_future()

    def resume_writing(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        waiter = self._reader or self._writer
        if waiter is None or waiter.done():
            return
        if self._loop.time() >= self.deadline:
            waiter.set_exception(_LimitReached())
        else:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self.deadline
        self._timer = self._loop.call_at(self.deadline, self._ring)

    # What the transport calls.

    def limit(self, deadline: float) -> Self:
        self.deadline = deadline
        self.cancelled_caught = False
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.cancelled_caught = kind is _LimitReached
        return self.cancelled_caught

    async def send(self, data: bytes) -> None:
        if self._ended:
            raise self._lost or ConnectionResetError("closed by the other side")
        self._transport.write(data)
        if self._writer is not None:
            if self.deadline < self._rings_at:
                self._set_timer()
            await self._writer
            if self._lost is not None:
                raise self._lost

    async def receive(self) -> bytes:
        while not self._received:
            if self._lost is not None:
                raise self._lost
            if self._ended:
                return b""
            self._reader = self._loop.create_future()
            if self.deadline < self._rings_at:
                self._set_timer()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._received.popleft()
        if self._paused and not self._received:
            self._paused = False
            self._transport.resume_reading()
        return data

    def sound(self) -> bool:
        # The loop tells of a closed connection only in its next turn, and none has come since the caller's
        # own blocking work; so the socket is asked as well. That takes less than a microsecond.
        return not self._ended and not self._received and not self._poll.poll(0)

    async def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
