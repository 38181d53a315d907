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
from headrace.transports.connecting.connection_errors import CLOSED, timeout_error
from headrace.transports.connecting.local_limits import local_resource_error
from headrace.transports.connecting.pool_group import PoolGroup, ReleasedConnection
from headrace.transports.connecting.timed_connector import TimedConnector
from headrace.transports.event_loops.event_loop import Waiter
from headrace.transports.event_loops.poller import Poller
from headrace.transports.http2.connection import Http2Connection
from headrace.transports.http2.protocol_engine import INITIAL_MAX_STREAMS
from headrace.transports.sockets.tls_session import HTTP1, HTTP2
from headrace.transports.sockets.watched_socket import ConnectedSocket, DeadlinePassed


class Http1Negotiated(Exception):
    """The server chose HTTP/1.1. ``connected`` is the connection, None if another call has it."""

    def __init__(self, connected: ConnectedSocket | None = None) -> None:
        super().__init__()
        self.connected = connected


class _StreamWaiter:
    """A call that waits for a stream until ``deadline``. ``connect_timeout`` is its limit to connect, in
    seconds.

    Once it is ``served``, it has a ``connection`` with a reserved stream, or an ``error``, or neither: then
    it must open a connection itself.
    """

    __slots__ = ("connect_timeout", "connection", "deadline", "error", "served", "waiter")

    def __init__(self, waiter: Waiter, deadline: float, connect_timeout: float) -> None:
        self.waiter = waiter
        self.deadline = deadline
        self.connect_timeout = connect_timeout
        self.served = False
        self.connection: Http2Connection | None = None
        self.error: Exception | None = None


class Http2Pool:
    """The HTTP/2 connections of one endpoint.

    A call gets the connection that was used last and has a free stream, so connections beyond the need become
    idle and are closed. Choosing the one with the fewest streams cost 4 to 9 % more.

    If no stream is free, the waiting calls open as many connections as they need together, and only one until
    the server has chosen HTTP/2. The call that opens a connection does so within its own timeouts; the others
    wait.
    """

    def __init__(
        self,
        connector: TimedConnector,
        poller: Poller,
        pool_group: PoolGroup,
        *,
        protocols: Sequence[str],
    ) -> None:
        self.where: str = connector.where
        self._connector = connector
        self._poller = poller
        self._pool_group = pool_group
        self._protocols = protocols
        self._connections: set[Http2Connection] = set()
        self._with_free_streams: list[Http2Connection] = []
        self._waiting: deque[_StreamWaiter] = deque()
        self._opening = 0
        self._max_streams = INITIAL_MAX_STREAMS
        self._max_requests = self._last_request_limit = math.inf
        self._speaks_http2 = False
        self._timer_at = math.inf
        self.closed: bool = False
        pool_group.pools.append(self)

    @property
    def open_count(self) -> int:
        """See `Pool.open_count`."""
        return len(self._connections)

    def acquire_nowait(self) -> Http2Connection | None:
        """A connection with a reserved stream. None: use `acquire`."""
        free = self._with_free_streams
        while free:
            connection = free[-1]
            if not connection.active_streams:
                connection.process_pending_input()  # if the connection is lost, this removes it from the list
            if connection.free_streams > 0 and not connection.draining:
                connection.free_streams -= 1
                return connection
            if connection.in_free_list:
                connection.in_free_list = False
                free.remove(connection)
        return None

    async def acquire(self, timeout: Timeout, end: float) -> tuple[Http2Connection, float]:
        """A connection with a reserved stream, and the seconds for which this machine had no connection left.

        Raises `Http1Negotiated`, `CallTimeout` at ``end``, and the errors of `Connector.connect`.
        """
        waited, again, opens, first = 0.0, False, self._needs_another_connection(), False
        self._opening += opens
        while True:
            if not opens:
                turn = await self._wait_in_line(timeout, end + waited, first=first)
                if isinstance(turn.error, DeadlinePassed):
                    raise timeout_error(self.where, "connect", timeout, in_total=True)
                if turn.error is not None:
                    raise turn.error
                if turn.connection is not None:
                    if not turn.connection.draining:
                        return turn.connection, waited
                    # The connection was lost, or began to drain, before this task ran.
                    opens, first = self._needs_another_connection(), True
                    self._opening += opens
                    continue
            try:
                return await self._open(timeout, end + waited), waited
            except LocalResourceError as error:
                # A stream that another call releases is enough.
                opens = not self._connections
                if opens:
                    since = self._poller.now()
                    released = await self._wait_for_connection(error, timeout, again=again)
                    waited, again = waited + self._poller.now() - since, True
                    if released is not None:
                        released[0].discard(released[1])
                    self._opening += 1

    async def _wait_for_connection(
        self, error: LocalResourceError, timeout: Timeout, *, again: bool
    ) -> ReleasedConnection | None:
        """See `PoolGroup.wait_for_connection`. Other waiting calls wait for this call's connection."""
        try:
            return await self._pool_group.wait_for_connection(error, timeout.total, again=again)
        except LocalResourceError as failure:
            self._fail_waiting(failure, len(self._waiting))
            raise
        except BaseException:
            self._open_more()
            raise

    def _needs_another_connection(self) -> bool:
        """Whether one more call needs another connection in addition to those being opened."""
        if not self._speaks_http2:
            return self._opening == 0
        return self._opening * min(self._max_streams, self._max_requests) <= len(self._waiting)

    async def _wait_in_line(self, timeout: Timeout, deadline: float, *, first: bool) -> _StreamWaiter:
        """Wait at the end of the line, or at its head if ``first``, until ``deadline`` at most."""
        connect_timeout = math.inf if timeout.connect is None else timeout.connect
        turn = _StreamWaiter(self._poller.new_waiter(), deadline, connect_timeout)
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        if deadline < self._timer_at:
            self._timer_at = deadline
            self._poller.set_timer(deadline, self)
        try:
            await turn.waiter
        except BaseException:
            if turn.connection is not None:
                turn.connection.release_stream()
            elif not turn.served:
                self._waiting.remove(turn)
            elif turn.error is None:
                self._opening -= 1
                self._open_more()
            raise
        return turn

    def _serve(self, turn: _StreamWaiter) -> None:
        turn.served = True
        self._poller.wake(turn.waiter)

    async def _open(self, timeout: Timeout, end: float) -> Http2Connection:
        """Open a connection, already counted in ``_opening``, and reserve a stream on it."""
        try:
            if self.closed:
                raise ClientStateError(CLOSED)
            connection = await self._connect(timeout, end)
        except BaseException as error:
            self._opening -= 1
            if isinstance(error, LocalResourceError):
                raise  # the other calls would get no connection either
            if isinstance(error, CallTimeout):
                self._fail_same_timeout(error, timeout, end)
            elif isinstance(error, (CallError, Http1Negotiated)) and not self._connections:
                self._fail_waiting(error, self._max_streams if self._speaks_http2 else len(self._waiting))
            self._open_more()
            raise
        self._opening -= 1
        self._speaks_http2 = True
        self.on_free_stream(connection)
        self._open_more()
        return connection

    async def _connect(self, timeout: Timeout, end: float) -> Http2Connection:
        connected = await self._connector.connect(self._protocols, timeout, end)
        if connected.protocol != HTTP2:
            if HTTP1 in self._protocols:
                raise Http1Negotiated(connected)
            connected.raw_socket.close()
            raise TLSError(f"{self.where} does not speak HTTP/2; leave http2 at 'auto'")
        try:
            connection = Http2Connection(connected, self._poller, self, self._max_streams, self._max_requests)
            connection.start()
        except OSError as error:
            connected.raw_socket.close()
            raise local_resource_error(error, self.where) or error from error
        self._connections.add(connection)
        connection.free_streams -= 1
        connection.process_early_data()  # such as the server's SETTINGS
        if connection.draining:
            raise ConnectError(f"{self.where} closed the connection before a request was sent")
        return connection

    def _fail_same_timeout(self, error: CallTimeout, timeout: Timeout, end: float) -> None:
        """Fail the waiting calls that allow no more time to connect than the call that timed out."""
        if self._connections or self._poller.now() >= end or timeout.connect is None:
            return  # that call's total timeout has passed; the others may have more time
        failed = [turn for turn in self._waiting if turn.connect_timeout <= timeout.connect]
        self._waiting = deque(turn for turn in self._waiting if turn.connect_timeout > timeout.connect)
        for turn in failed:
            turn.error = copy.copy(error)
            self._serve(turn)

    def _fail_waiting(self, error: Exception, count: int) -> None:
        """Fail the first ``count`` waiting calls, because their connection could not be opened."""
        for _ in range(min(count, len(self._waiting))):
            turn = self._waiting.popleft()
            turn.error = Http1Negotiated() if isinstance(error, Http1Negotiated) else copy.copy(error)
            self._serve(turn)

    def _open_more(self) -> None:
        """Let waiting calls open as many connections as they need together."""
        while self._waiting and self._needs_another_connection():
            self._opening += 1
            self._serve(self._waiting.popleft())

    # Called by connections; see `ConnectionOwner`.

    def on_free_stream(self, connection: Http2Connection) -> None:
        """See `ConnectionOwner.on_free_stream`."""
        while self._waiting and connection.free_streams > 0:
            turn = self._waiting.popleft()
            connection.free_streams -= 1
            turn.connection = connection
            self._serve(turn)
        if connection.free_streams > 0 and not connection.in_free_list:
            connection.in_free_list = True
            self._with_free_streams.append(connection)

    def on_connection_draining(self, connection: Http2Connection) -> None:
        """See `ConnectionOwner.on_connection_draining`."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection.in_free_list:
                connection.in_free_list = False
                self._with_free_streams.remove(connection)
            self._open_more()
            if self._pool_group.shortage.waiters:
                self._pool_group.shortage.release()

    def on_max_streams(self, count: int) -> None:
        """See `ConnectionOwner.on_max_streams`."""
        self._max_streams = max(1, count)

    def on_request_limit(self, requests: int) -> None:
        """See `ConnectionOwner.on_request_limit`. A limit seen twice in a row applies from then on."""
        if requests == self._last_request_limit:
            self._max_requests = requests
        self._last_request_limit = requests

    def on_request_limit_exceeded(self) -> None:
        """See `ConnectionOwner.on_request_limit_exceeded`."""
        self._max_requests *= 2

    # Called by the poller.

    def on_timer(self, now: float) -> None:
        """Fail the waiting calls whose deadline has passed."""
        if now < self._timer_at:
            return  # a later timer, replaced by an earlier one
        late = [turn for turn in self._waiting if turn.deadline <= now]
        for turn in late:
            self._waiting.remove(turn)
            turn.error = DeadlinePassed()
            self._serve(turn)
        self._timer_at = min((turn.deadline for turn in self._waiting), default=math.inf)
        if self._timer_at < math.inf:
            self._poller.set_timer(self._timer_at, self)

    # Called by the transport; see `Pool`.

    def discard(self, connection: Http2Connection) -> None:
        """See `Pool.discard`."""
        connection.close_when_idle()

    def release(self, connection: Http2Connection) -> None:
        """See `Pool.release`. HTTP/2 connections are not handed to other attempts, only their streams."""

    def close_idle(self) -> int:
        """See `Pool.close_idle`."""
        idle = [connection for connection in self._connections if not connection.active_streams]
        for connection in idle:
            connection.close_when_idle()
        return len(idle)

    def close(self) -> None:
        """See `Pool.close`."""
        self.closed = True
        self.close_idle()
        for turn in self._waiting:
            turn.error = ClientStateError(CLOSED)
            self._serve(turn)
        self._waiting.clear()
