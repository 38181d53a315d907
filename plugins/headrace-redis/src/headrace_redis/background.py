"""A task that belongs to the event loop and to no block: what keeps a connection.

A policy is not told when its client begins or ends, and coredis needs a block for its connection. So one task
has that block. It is a system task on trio; on asyncio it is a task of its own. It ends by itself soon after
the last call (see `headrace_redis.keeper.LINGER`), and with its event loop at the latest.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.plugins import on_asyncio


def spawn(run: Callable[[], Awaitable[None]], name: str) -> object:
    """Run ``run`` on this event loop, outside all blocks; what is returned is to be kept until it is over."""
    if on_asyncio():
        import asyncio

        async def main() -> None:
            await run()

        # A context of its own: it is no part of the call that happened to be the first.
        return asyncio.get_running_loop().create_task(main(), name=name, context=contextvars.Context())
    import trio

    task: Any = trio.lowlevel.spawn_system_task(run, name=name)
    return task
