"""Which event loop a policy, transport or limiter belongs to: its state is bound to that loop's clock."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from headrace.errors import ClientStateError

_lock = threading.Lock()
_used_in: WeakKeyDictionary[Any, EventLoopToken] = WeakKeyDictionary()


def bind_to_running_loop(part: Any, name: str) -> bool:
    """Have ``part`` belong to the running event loop.

    Its ``reset()``, where it has one, is called when the loop that it belonged to has ended.

    Returns:
        Whether it belonged to another one before.

    Raises:
        ClientStateError: The loop that it belongs to has not ended.
    """
    token = anyio.lowlevel.current_token()
    with _lock:
        try:
            before = _used_in.get(part)
            _used_in[part] = token
        except TypeError:  # not hashable, or without weak references: nothing is remembered of it
            return False
        if before is None or before == token:
            return False
        if not _has_ended(before):
            _used_in[part] = before
            raise ClientStateError(
                f"{name} is in use in another event loop; make one for each event loop and thread"
            )
        reset = getattr(part, "reset", None)
        if reset is not None:
            reset()
        return True


def _has_ended(token: EventLoopToken) -> bool:
    loop: Any = token.native_token
    if hasattr(loop, "is_closed"):  # asyncio's
        return bool(loop.is_closed())
    import trio

    try:
        loop.run_sync_soon(lambda: None)
    except trio.RunFinishedError:
        return True
    return False
