"""Binds policies, transports and limiters to an event loop, because their state depends on its clock."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from headrace.errors import ClientStateError

_lock = threading.Lock()
_used_in: WeakKeyDictionary[Any, EventLoopToken] = WeakKeyDictionary()


def bind_to_running_loop(component: Any, name: str) -> bool:
    """Bind a component to the running event loop.

    If it was bound to a loop that has ended, its ``reset()`` is called, if there is one.

    Returns:
        Whether it was bound to another loop before.

    Raises:
        ClientStateError: It is bound to another loop that has not ended.
    """
    token = anyio.lowlevel.current_token()
    with _lock:
        try:
            before = _used_in.get(component)
            _used_in[component] = token
        except TypeError:  # not hashable, or without weak references: it cannot be remembered
            return False
        if before is None or before == token:
            return False
        if not _has_ended(before):
            _used_in[component] = before
            raise ClientStateError(
                f"{name} is in use in another event loop; make one for each event loop and thread"
            )
        reset = getattr(component, "reset", None)
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
