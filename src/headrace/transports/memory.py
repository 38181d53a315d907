"""The in-memory transport: no sockets, for tests and for simulations in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from headrace.calls import Call
from headrace.errors import CallTimeout
from headrace.replies import Reply


class MemoryTransport:
    """Hands each attempt to ``handler``, within the call's total timeout and deadline.

    The handler returns the answer, or raises what a transport raises. An attempt always yields to the
    event loop, as one over a socket does.
    """

    def __init__(self, handler: Callable[[Call], Awaitable[Reply]]) -> None:
        self._handler = handler

    async def send(self, call: Call) -> Reply:
        """Make one attempt; raises `CallTimeout` when it takes too long."""
        await anyio.lowlevel.checkpoint()
        limit = call.timeout.total
        with anyio.move_on_after(limit):
            return await self._handler(call)
        raise CallTimeout(f"no complete answer within {limit:g} s", "total")

    async def aclose(self) -> None:
        """Nothing to drop."""
