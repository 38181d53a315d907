"""A stream over a trio socket, without the layers between.

A stream of trio's or anyio's yields to the scheduler around each send and receive, and needs a cancel scope
to be limited in time; under load that is most of what a call takes.
"""

from __future__ import annotations

import heapq
import itertools
import math
import ssl
from socket import socket

import trio

from headrace.transports.anyio_stream import AnyioStream
from headrace.transports.streams import MAX_READ, Feed, LimitReached, Probe, Stream, Timed


class TrioStreams:
    """See `headrace.transports.streams.Streams`."""

    def __init__(self) -> None:
        self._alarm = Alarm()

    async def over(self, raw_socket: socket, context: ssl.SSLContext | None, host: str) -> Stream:
        """See `Streams.over`."""
        if context is None:
            return TrioStream(raw_socket, self._alarm)
        return await AnyioStream.over(raw_socket, context, host)

    async def aclose(self) -> None:
        """End the alarm."""
        await self._alarm.aclose()


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

    __slots__ = ("_alarm", "_probe", "_socket", "_timed_out", "closed")

    def __init__(self, raw_socket: socket, alarm: Alarm) -> None:
        super().__init__()
        self._socket = raw_socket
        self._alarm = alarm
        self._probe = Probe(raw_socket)
        self._timed_out = False
        self.closed = False

    def _set_timer(self, when: float) -> None:
        self._alarm.set(when, self)

    def _expire(self) -> None:
        self._timed_out = True
        trio.lowlevel.notify_closing(self._socket)  # whoever waits for it gets a ClosedResourceError

    async def send(self, data: bytes, until: float) -> None:
        # All tasks that are ready get to this point before the first of them sends. Requests that leave
        # together wake the other side once: under load that spares a fourth of a call's time, as measured.
        await trio.lowlevel.cancel_shielded_checkpoint()
        sent = self._send_some(data)
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        self._limit(until)
        while rest:
            try:
                await trio.lowlevel.wait_writable(self._socket)
            except trio.ClosedResourceError:
                raise self._closed() from None
            rest = rest[self._send_some(rest) :]

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
