"""Connects within an attempt's timeouts, and waits if this machine has no connection left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import anyio
import attrs

from headrace._support.clock import running_clock
from headrace.calls import Call, Timeout
from headrace.errors import LocalResourceError
from headrace.limiter_tokens import LackingConnection
from headrace.transports.connecting.connection_errors import timeout_error
from headrace.transports.connecting.connector import Connector
from headrace.transports.connecting.pool_group import PoolGroup, ReleasedConnection
from headrace.transports.sockets.watched_socket import ConnectedSocket

_LOOP_LAG = 0.1
"""Seconds by which a healthy event loop may notice a deadline late."""


@attrs.frozen
class ConnectResult:
    """A new connection, a ``released`` one, or neither; then a new one can be opened now.

    ``waited``: seconds for which this machine had no connection; they extend the attempt's total timeout.
    """

    connected: ConnectedSocket | None = None
    released: ReleasedConnection | None = None
    waited: float = 0.0


class TimedConnector:
    """Opens the connections to one endpoint within timeouts."""

    def __init__(self, connector: Connector, pool_group: PoolGroup) -> None:
        self._connector = connector
        self._pool_group = pool_group
        self._now = running_clock()
        self.where: str = connector.where
        self.connect_nowait: Callable[[], ConnectedSocket | None] = connector.connect_nowait

    async def connect_or_wait(
        self, protocols: Sequence[str], call: Call, end: float, *, again: bool = False
    ) -> ConnectResult:
        """Connect. If this machine has no connection left, wait for one that another attempt releases.

        If the result has no connection, call it ``again``.

        Raises `CallTimeout` after the connect timeout or at ``end``, and the errors of `Connector.connect`.
        """
        try:
            return ConnectResult(await self.connect(protocols, call.timeout, end))
        except LocalResourceError as error:
            since = self._now()
            with LackingConnection(call):
                released = await self._pool_group.wait_for_connection(error, call.timeout.total, again=again)
        waited = self._now() - since
        return ConnectResult(released=released, waited=waited)

    async def connect(self, protocols: Sequence[str], timeout: Timeout, end: float) -> ConnectedSocket:
        """Connect, without a wait if this machine has no connection left; see `connect_or_wait`."""
        for last_try in (False, True):
            started = limit = math.inf
            with anyio.CancelScope(deadline=end) as scope:
                async with self._connector.limiter:
                    started = self._now()
                    if timeout.connect is not None:  # from here on, without the wait for the limiter
                        limit = started + timeout.connect
                        scope.deadline = min(limit, end)
                    return await self._connector.connect(protocols)
            # A blocked event loop did not check its sockets before the deadline. The endpoint is not the
            # cause, so there is a second try.
            if last_try or limit >= end or self._now() - limit <= _LOOP_LAG:
                break
        if started < math.inf:
            self._connector.on_connect_timeout(started)
        raise timeout_error(self.where, "connect", timeout, in_total=limit >= end)
