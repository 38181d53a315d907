"""The in-memory transport: no sockets, for tests and simulations in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from headrace.calls import Call
from headrace.errors import CallTimeout
from headrace.replies import Reply


class MemoryTransport:
    """Passes each attempt to ``handler``, within the call's total timeout and deadline.

    Each attempt yields to the event loop at least once, like one over a socket.

    Args:
        handler: Returns the reply, or raises the errors of a transport.
    """

    def __init__(self, handler: Callable[[Call], Awaitable[Reply]]) -> None:
        self._handler = handler

    async def send(self, call: Call) -> Reply:
        """Make one attempt. Raises `CallTimeout` if it takes too long."""
        await anyio.lowlevel.checkpoint()
        limit = call.timeout.total
        with anyio.move_on_after(limit):
            return await self._handler(call)
        raise CallTimeout(f"no complete response within {limit:g} s", "total")

    async def aclose(self) -> None:
        """Nothing to close."""
