"""The clock of the event loop, asked without the way through anyio's layers."""

from __future__ import annotations

import sys
from collections.abc import Callable


def running_clock() -> Callable[[], float]:
    """What `anyio.current_time` asks in the end: trio's clock, virtual or real, or that of asyncio's loop."""
    if on_asyncio():
        import asyncio

        return asyncio.get_running_loop().time
    import trio  # takes as long to import as all the rest, and whoever runs it has done so

    return trio.lowlevel.current_clock().current_time


def on_asyncio() -> bool:
    """Whether asyncio runs here, or else trio; asyncio is not imported for the question."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
