"""The pools of one transport, which share the connections that this machine has."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from headrace.errors import LocalResourceError
from headrace.transports.connecting.local_limits import ResourceShortage


class Pool(Protocol):
    """The connections to one endpoint with one protocol."""

    @property
    def open_count(self) -> int:
        """How many connections are open, in use or idle."""

    def discard(self, connection: Any, /) -> None:
        """Close a connection."""

    def release(self, connection: Any, /) -> None:
        """Keep a connection that is not needed now."""

    def close_idle(self) -> int:
        """Close the idle connections. Returns how many there were."""

    def close(self) -> None:
        """Close, and open no more connections."""


ReleasedConnection: TypeAlias = "tuple[Pool, Any]"
"""A connection that another attempt released, and its pool."""


class PoolGroup:
    """All pools of one transport, and the attempts that wait because this machine has no connection left."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.shortage: ResourceShortage[ReleasedConnection] = ResourceShortage(_put_back)

    async def wait_for_connection(
        self, error: LocalResourceError, max_wait: float | None, *, again: bool
    ) -> ReleasedConnection | None:
        """Wait for a connection. Returns a released one, or None if a new one can be opened.

        Raises ``error`` if no connection is in use, so that none will be released.
        """
        if sum(pool.close_idle() for pool in self.pools):
            return None
        if not sum(pool.open_count for pool in self.pools):
            raise error
        return await self.shortage.wait(error, max_wait, again=again)

    def close(self) -> None:
        """Close all pools."""
        for pool in self.pools:
            pool.close()
        self.shortage.close()


def _put_back(released: ReleasedConnection) -> None:
    pool, connection = released
    pool.release(connection)
