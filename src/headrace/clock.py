"""The clock of the event loop, asked without the way through anyio's layers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def running_clock() -> Callable[[], float]:
    """What `anyio.current_time` asks in the end: trio's clock, virtual or real, or that of asyncio's loop."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        import trio  # takes as long to import as all the rest, and whoever runs it has done so

        return trio.current_time
