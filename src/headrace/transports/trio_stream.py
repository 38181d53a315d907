"""A stream over a trio socket, without the layers between.

A stream of trio's or anyio's yields to the scheduler around each send and receive, and needs a cancel scope
to be limited in time; under load that is most of what a call takes.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import ssl
from socket import socket

import trio

from headrace.transports.anyio_stream import AnyioStream
from headrace.transports.streams import MAX_READ, MOST_TOGETHER, Feed, LimitReached, Probe, Stream, Timed

_SMALL = 8 * 1024
"""Bytes of a request that go into a socket at once, as long as nothing else is on its way."""


class TrioStreams:
    """See `headrace.transports.streams.Streams`."""

    def __init__(self) -> None:
        self._alarm = Alarm()
        self._mail = Mail()

    async def over(self, raw_socket: socket, context: ssl.SSLContext | None, host: str) -> Stream:
        """See `Streams.over`."""
        if context is None:
            return TrioStream(raw_socket, self._alarm, self._mail)
        return await AnyioStream.over(raw_socket, context, host)

    async def aclose(self) -> None:
        """End what runs for the streams."""
        await self._alarm.aclose()
        await self._mail.aclose()


class Mail:
    """Sends the requests of all streams of a transport together; see `MOST_TOGETHER`.

    A system task sends what is left when all tasks that are ready have had their turn; the reason for such a
    task is that of `Alarm`.
    """

    def __init__(self) -> None:
        self._outgoing: list[tuple[TrioStream, bytes]] = []
        self._waiting: trio.lowlevel.Task | None = None
        self._whole = trio.CancelScope()
        self._over = trio.Event()
        trio.lowlevel.spawn_system_task(self._run, name="headrace mail")

    def post(self, stream: TrioStream, data: bytes) -> None:
        """Have ``data`` sent over ``stream``."""
        self._outgoing.append((stream, data))
        if len(self._outgoing) == MOST_TOGETHER:
            self._send_all()
        elif self._waiting is not None:
            task, self._waiting = self._waiting, None
            trio.lowlevel.reschedule(task)

    def _send_all(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        for stream, data in outgoing:
            stream.send_now(data)

    async def _run(self) -> None:
        with self._whole:
            while True:
                if not self._outgoing:
                    self._waiting = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
                self._send_all()
        self._over.set()

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def aclose(self) -> None:
        """End."""
        self._whole.cancel()
        await self._over.wait()


class Alarm:
    """Rings for all streams of a transport: a heap entry for each, and one task that sleeps.

    trio has no timers but those of cancel scopes, which only a task can hold. This one is the transport's: it
    begins with the first stream and has ended when `aclose` returns. It is a system task because a transport
    has no block of its own in which it could open a nursery.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TrioStream]] = []
        self._order = itertools.count()
        self._stale = 0
        self._sleep = trio.CancelScope()
        self._whole = trio.CancelScope()
        self._over = trio.Event()
        trio.lowlevel.spawn_system_task(self._run, name="headrace alarm")

    async def _run(self) -> None:
        with self._whole:
            while True:
                self._sleep = trio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf)
                with self._sleep:
                    await trio.sleep_forever()
                now = trio.current_time()
                while self._heap and self._heap[0][0] <= now:
                    heapq.heappop(self._heap)[2].ring(now)
        self._over.set()

    def set(self, when: float, stream: TrioStream) -> None:
        """Have ``stream`` rung at ``when``."""
        heapq.heappush(self._heap, (when, next(self._order), stream))
        if when < self._sleep.deadline:
            self._sleep.deadline = when

    def drop(self) -> None:
        """One of the streams is closed; once they are the half of all, they are let go."""
        self._stale += 1
        if self._stale > 100 and self._stale > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].closed]
            heapq.heapify(self._heap)
            self._stale = 0

    async def aclose(self) -> None:
        """End."""
        self._whole.cancel()
        await self._over.wait()


class TrioStream(Timed):
    """See `headrace.transports.streams.Stream`; ``raw_socket`` is connected, non-blocking, and its own."""

    __slots__ = ("_alarm", "_mail", "_probe", "_socket", "_timed_out", "closed")

    def __init__(self, raw_socket: socket, alarm: Alarm, mail: Mail) -> None:
        super().__init__()
        self._socket = raw_socket
        self._alarm = alarm
        self._mail = mail
        self._probe = Probe(raw_socket)
        self._timed_out = False
        self.closed = False

    def _set_timer(self, when: float) -> None:
        self._alarm.set(when, self)

    def _expire(self) -> None:
        self._timed_out = True
        trio.lowlevel.notify_closing(self._socket)  # whoever waits for it gets a ClosedResourceError

    async def send(self, data: bytes, until: float) -> None:
        if len(data) <= _SMALL:
            self._mail.post(self, data)
            return
        self._limit(until)
        await self._send_rest(memoryview(data))

    def send_now(self, data: bytes) -> None:
        """What `Mail` calls. An error shows where the answer is waited for."""
        if self.closed:
            return
        with contextlib.suppress(OSError):
            sent = self._send_some(data)
            if sent < len(data):  # a system whose buffers are that small
                trio.lowlevel.spawn_system_task(self._send_later, memoryview(data)[sent:])

    async def _send_later(self, rest: memoryview) -> None:
        with contextlib.suppress(OSError, LimitReached):
            await self._send_rest(rest)

    async def _send_rest(self, rest: memoryview) -> None:
        while rest := rest[self._send_some(rest) :]:
            try:
                await trio.lowlevel.wait_writable(self._socket)
            except trio.ClosedResourceError:
                raise self._closed() from None

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def pump(self, feed: Feed, until: float, silence: float | None) -> bool:
        while True:
            self._limit(until if silence is None else min(until, trio.current_time() + silence))
            try:
                await trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(MAX_READ)
            except trio.ClosedResourceError:
                raise self._closed() from None
            except BlockingIOError:  # woken for nothing; see BUGS in select(2)
                continue
            if not data or feed(data):
                self._limit(math.inf)
                return bool(data)

    def _closed(self) -> Exception:
        return LimitReached() if self._timed_out else ConnectionAbortedError("closed by this side")

    def sound(self) -> bool:
        return self._probe.silent()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self._limit(math.inf)
            self._alarm.drop()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
