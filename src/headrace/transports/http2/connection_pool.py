"""The HTTP/2 connections of one endpoint: as many as the calls need, opened by calls that wait for them."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Sequence

from headrace.calls import Timeout
from headrace.errors import (
    CallError,
    CallTimeout,
    ClientStateError,
    ConnectError,
    LocalResourceError,
    TLSError,
)
from headrace.transports.connecting.local_limits import local_resource_error
from headrace.transports.connecting.timed_connector import Handed, Opener, Shared, timed_out
from headrace.transports.event_loops.event_loop import Waiter
from headrace.transports.event_loops.poller import Poller
from headrace.transports.http1.connection_pool import CLOSED
from headrace.transports.http2.connection import Http2Connection
from headrace.transports.http2.protocol_engine import ASSUMED_STREAMS
from headrace.transports.sockets.byte_stream import LimitReached
from headrace.transports.sockets.tls_session import HTTP1, HTTP2
from headrace.transports.sockets.watched_socket import Connected


class SpeaksHttp1(Exception):
    """The server chose HTTP/1.1; ``connected`` is the connection, None where another call has it."""

    def __init__(self, connected: Connected | None = None) -> None:
        super().__init__()
        self.connected = connected


class _Turn:
    """A call that waits for a stream, until ``end``; ``connect`` seconds are its limit for connecting.

    Once it is ``served``, it has a ``connection`` with a stream reserved, an ``error``, or is to open a
    connection itself.
    """

    __slots__ = ("connect", "connection", "end", "error", "served", "waiter")

    def __init__(self, waiter: Waiter, end: float, connect: float) -> None:
        self.waiter = waiter
        self.end = end
        self.connect = connect
        self.served = False
        self.connection: Http2Connection | None = None
        self.error: Exception | None = None


class Http2Pool:
    """One endpoint's connections of HTTP/2.

    A call gets the connection that was used last and has a stream free, so that those beyond need become idle
    and are closed. Where none has, the calls that wait open as many connections as they need together, and
    only one until it is known that the server speaks HTTP/2. Whoever opens one does so within its own limits;
    the others wait.
    """

    def __init__(self, opener: Opener, poller: Poller, shared: Shared, *, protocols: Sequence[str]) -> None:
        self.where = opener.where
        self._opener = opener
        self._poller = poller
        self._shared = shared
        self._protocols = protocols
        self._connections: set[Http2Connection] = set()
        self._with_room: list[Http2Connection] = []
        self._waiting: deque[_Turn] = deque()
        self._opening = 0
        self._streams = ASSUMED_STREAMS
        self._requests = self._took = math.inf
        self._known = False
        self._rings_at = math.inf
        self.closed = False
        shared.pools.append(self)

    @property
    def opened(self) -> int:
        """See `Pool.opened`."""
        return len(self._connections)

    def reserved(self) -> Http2Connection | None:
        """A connection with a stream reserved; None: `wait_for_room`."""
        free = self._with_room
        while free:
            connection = free[-1]
            if not connection.busy:
                connection.check()  # where it is lost, this takes it out of the list
            if connection.room > 0 and not connection.draining:
                connection.room -= 1
                return connection
            if connection.listed:
                connection.listed = False
                free.remove(connection)
        return None

    async def wait_for_room(self, timeout: Timeout, end: float) -> tuple[Http2Connection, float]:
        """A connection with a stream reserved, and the seconds for which this machine had none left.

        Raises `SpeaksHttp1`, `CallTimeout` at ``end``, and what `Connector.connect` does.
        """
        waited, again, opens, first = 0.0, False, self._lacks_one(), False
        self._opening += opens
        while True:
            if not opens:
                turn = await self._served(timeout, end + waited, first=first)
                if isinstance(turn.error, LimitReached):
                    raise timed_out(self.where, "connect", timeout, in_total=True)
                if turn.error is not None:
                    raise turn.error
                if turn.connection is not None:
                    if not turn.connection.draining:
                        return turn.connection, waited
                    # It was lost, or is to be closed, before this task had its turn.
                    opens, first = self._lacks_one(), True
                    self._opening += opens
                    continue
            try:
                return await self._open(timeout, end + waited), waited
            except LocalResourceError as error:
                # A stream that another call gives back will do as well.
                opens = not self._connections
                if opens:
                    since = self._poller.now()
                    handed = await self._wait_for_another(error, timeout, again=again)
                    waited, again = waited + self._poller.now() - since, True
                    if handed is not None:
                        handed[0].drop(handed[1])
                    self._opening += 1

    async def _wait_for_another(
        self, error: LocalResourceError, timeout: Timeout, *, again: bool
    ) -> Handed | None:
        """See `Shared.wait`; those in line wait for the connection that this call opens then."""
        try:
            return await self._shared.wait(error, timeout.total, again=again)
        except LocalResourceError as failure:
            self._fail_waiting(failure, len(self._waiting))
            raise
        except BaseException:
            self._have_more_opened()
            raise

    def _lacks_one(self) -> bool:
        """Whether the connections that are being opened are too few for one call more."""
        if not self._known:
            return self._opening == 0
        return self._opening * min(self._streams, self._requests) <= len(self._waiting)

    async def _served(self, timeout: Timeout, end: float, *, first: bool) -> _Turn:
        """Wait in line, or before all ``first``, until ``end`` at most."""
        connect = math.inf if timeout.connect is None else timeout.connect
        turn = _Turn(self._poller.new_waiter(), end, connect)
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        if end < self._rings_at:
            self._rings_at = end
            self._poller.set_timer(end, self)
        try:
            await turn.waiter
        except BaseException:
            if turn.connection is not None:
                turn.connection.give_back_room()
            elif not turn.served:
                self._waiting.remove(turn)
            elif turn.error is None:
                self._opening -= 1
                self._have_more_opened()
            raise
        return turn

    def _serve(self, turn: _Turn) -> None:
        turn.served = True
        self._poller.wake(turn.waiter)

    async def _open(self, timeout: Timeout, end: float) -> Http2Connection:
        """Open a connection, on which a stream is reserved; it is counted in ``_opening``."""
        try:
            if self.closed:
                raise ClientStateError(CLOSED)
            connection = await self._connected(timeout, end)
        except BaseException as error:
            self._opening -= 1
            if isinstance(error, LocalResourceError):
                raise  # the others would get no connection, either
            if isinstance(error, CallTimeout):
                self._fail_waiting_as_long(error, timeout, end)
            elif isinstance(error, (CallError, SpeaksHttp1)) and not self._connections:
                self._fail_waiting(error, self._streams if self._known else len(self._waiting))
            self._have_more_opened()
            raise
        self._opening -= 1
        self._known = True
        self.has_room(connection)
        self._have_more_opened()
        return connection

    async def _connected(self, timeout: Timeout, end: float) -> Http2Connection:
        connected = await self._opener.connect(self._protocols, timeout, end)
        if connected.protocol != HTTP2:
            if HTTP1 in self._protocols:
                raise SpeaksHttp1(connected)
            connected.raw_socket.close()
            raise TLSError(f"{self.where} does not speak HTTP/2; leave http2 at 'auto'")
        try:
            connection = Http2Connection(connected, self._poller, self, self._streams, self._requests)
        except OSError as error:
            connected.raw_socket.close()
            raise local_resource_error(error, self.where) or error from error
        self._connections.add(connection)
        connection.room -= 1
        connection.take_early()  # the server's SETTINGS, say
        if connection.draining:
            raise ConnectError(f"{self.where} closed the connection before a request was sent")
        return connection

    def _fail_waiting_as_long(self, error: CallTimeout, timeout: Timeout, end: float) -> None:
        """Let those fail that would give an endpoint no more time to connect than was in vain."""
        if self._connections or self._poller.now() >= end or timeout.connect is None:
            return  # the time of that call was up, which says nothing of others
        late = [turn for turn in self._waiting if turn.connect <= timeout.connect]
        self._waiting = deque(turn for turn in self._waiting if turn.connect > timeout.connect)
        for turn in late:
            turn.error = copy.copy(error)
            self._serve(turn)

    def _fail_waiting(self, error: Exception, count: int) -> None:
        """Let the first of those fail that waited for the connection that cannot be opened."""
        for _ in range(min(count, len(self._waiting))):
            turn = self._waiting.popleft()
            turn.error = SpeaksHttp1() if isinstance(error, SpeaksHttp1) else copy.copy(error)
            self._serve(turn)

    def _have_more_opened(self) -> None:
        """Have as many of those who wait open a connection as they need together."""
        while self._waiting and self._lacks_one():
            self._opening += 1
            self._serve(self._waiting.popleft())

    # What a connection tells.

    def has_room(self, connection: Http2Connection) -> None:
        """See `Owner.has_room`."""
        while self._waiting and connection.room > 0:
            turn = self._waiting.popleft()
            connection.room -= 1
            turn.connection = connection
            self._serve(turn)
        if connection.room > 0 and not connection.listed:
            connection.listed = True
            self._with_room.append(connection)

    def lost(self, connection: Http2Connection) -> None:
        """See `Owner.lost`."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection.listed:
                connection.listed = False
                self._with_room.remove(connection)
            self._have_more_opened()
            if self._shared.shortage.waiters:
                self._shared.shortage.give_back()

    def allows(self, streams: int) -> None:
        """See `Owner.allows`."""
        self._streams = max(1, streams)

    def took(self, requests: int) -> None:
        """See `Owner.took`: twice the same is the server's rule, and the next ones get no more than that."""
        if requests == self._took:
            self._requests = requests
        self._took = requests

    def takes_more(self) -> None:
        """See `Owner.takes_more`."""
        self._requests *= 2

    def ring(self, now: float) -> None:
        """The poller's timer has ended: let those go whose time is up."""
        if now < self._rings_at:
            return  # one that was set before an earlier one
        late = [turn for turn in self._waiting if turn.end <= now]
        for turn in late:
            self._waiting.remove(turn)
            turn.error = LimitReached()
            self._serve(turn)
        self._rings_at = min((turn.end for turn in self._waiting), default=math.inf)
        if self._rings_at < math.inf:
            self._poller.set_timer(self._rings_at, self)

    # What the transport calls.

    def drop(self, connection: Http2Connection) -> None:
        """See `Pool.drop`."""
        connection.retire()

    def give_back(self, connection: Http2Connection) -> None:
        """See `Pool.give_back`: connections of HTTP/2 are not handed over, their streams are."""

    def close_idle(self) -> int:
        """See `Pool.close_idle`."""
        idle = [connection for connection in self._connections if not connection.busy]
        for connection in idle:
            connection.retire()
        return len(idle)

    def close(self) -> None:
        """See `Pool.close`."""
        self.closed = True
        self.close_idle()
        for turn in self._waiting:
            turn.error = ClientStateError(CLOSED)
            self._serve(turn)
        self._waiting.clear()
