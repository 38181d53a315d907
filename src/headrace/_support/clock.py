"""The clock of the running event loop, without the overhead of anyio's layers."""

from __future__ import annotations

import sys
from collections.abc import Callable


def running_clock() -> Callable[[], float]:
    """The clock that `anyio.current_time` reads: trio's (real or virtual), or that of the asyncio loop."""
    if on_asyncio():
        import asyncio

        return asyncio.get_running_loop().time
    import trio  # importing it takes long; a program on trio has imported it already

    return trio.lowlevel.current_clock().current_time


def on_asyncio() -> bool:
    """Whether the running event loop is asyncio's and not trio's; this does not import asyncio."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
