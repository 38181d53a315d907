"""Opens an endpoint's connections within an attempt's limits, and waits where this machine has none left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import anyio
import attrs

from headrace._support.clock import running_clock
from headrace.calls import Timeout
from headrace.errors import CallTimeout, LocalResourceError
from headrace.transports.connecting.connector import Connector
from headrace.transports.connecting.local_limits import Shortage
from headrace.transports.sockets.watched_socket import Connected

_LOOP_LAG = 0.1
"""Seconds by which a healthy event loop may notice a deadline late."""


class Pool(Protocol):
    """An endpoint's connections of one protocol."""

    @property
    def opened(self) -> int:
        """How many there are, in use or idle."""

    def drop(self, connection: Any, /) -> None:
        """Close one."""

    def give_back(self, connection: Any, /) -> None:
        """Keep one that is not needed."""

    def close_idle(self) -> int:
        """Close the connections that nobody uses; returns how many there were."""

    def close(self) -> None:
        """Close, and open no more."""


Handed: TypeAlias = "tuple[Pool, Any]"
"""A connection that another attempt gave back, and whose it is."""


class Shared:
    """What the pools of one transport share: the connections that this machine has."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.shortage: Shortage[Handed] = Shortage(_put_back)

    async def wait(self, error: LocalResourceError, patience: float | None, *, again: bool) -> Handed | None:
        """Wait until a connection can be had; what is handed over, None where one can be opened.

        Raises ``error`` where no connection is in use, so that none will be given back.
        """
        if sum(pool.close_idle() for pool in self.pools):
            return None
        if not sum(pool.opened for pool in self.pools):
            raise error
        return await self.shortage.wait(error, patience, again=again)

    def close(self) -> None:
        """Close all pools."""
        for pool in self.pools:
            pool.close()
        self.shortage.close()


def _put_back(handed: Handed) -> None:
    pool, connection = handed
    pool.give_back(connection)


@attrs.frozen
class Opened:
    """A new connection, or one that was ``handed`` over.

    ``waited``: seconds for which this machine had none; they are not the endpoint's.
    """

    connected: Connected | None = None
    handed: Handed | None = None
    waited: float = 0.0


class Opener:
    """Opens the connections of one endpoint."""

    def __init__(self, connector: Connector, shared: Shared) -> None:
        self._connector = connector
        self._shared = shared
        self._now = running_clock()
        self.where = connector.where
        self.at_once = connector.connect_at_once

    async def open(
        self, protocols: Sequence[str], timeout: Timeout, end: float, *, again: bool = False
    ) -> Opened:
        """Open a connection; where this machine has none left, wait for one that another attempt gives back.

        It holds neither where one can be opened now; then open ``again``.

        Raises `CallTimeout` after the connect timeout, or at ``end``, and what `Connector.connect` does.
        """
        try:
            return Opened(await self.connect(protocols, timeout, end))
        except LocalResourceError as error:
            since = self._now()
            handed = await self._shared.wait(error, timeout.total, again=again)
        waited = self._now() - since
        return Opened(handed=handed, waited=waited)

    async def connect(self, protocols: Sequence[str], timeout: Timeout, end: float) -> Connected:
        """A new connection; see `open`, which waits where this machine has none left."""
        for last_try in (False, True):
            began = limit = math.inf
            with anyio.CancelScope(deadline=end) as scope:
                async with self._connector.turns:
                    began = self._now()
                    if timeout.connect is not None:  # from here on, for until now it was this side's time
                        limit = began + timeout.connect
                        scope.deadline = min(limit, end)
                    return await self._connector.connect(protocols)
            # An event loop that was blocked past the deadline has looked at no socket since. That says
            # nothing about the endpoint, which gets its time once more.
            if last_try or limit >= end or self._now() - limit <= _LOOP_LAG:
                break
        if began < math.inf:
            self._connector.timed_out(began)
        raise timed_out(self.where, "connect", timeout, in_total=limit >= end)


def timed_out(where: str, phase: str, timeout: Timeout, *, in_total: bool) -> CallTimeout:
    """The error for an attempt that reached its limit in a phase."""
    if in_total:
        return CallTimeout(
            f"no complete answer from {where} within {timeout.total:g} s ({phase}); raise timeout=",
            phase if phase == "connect" else "total",
        )
    limit: float = getattr(timeout, phase)
    return CallTimeout(f"{phase} timeout: {where} was silent for {limit:g} s", phase)
