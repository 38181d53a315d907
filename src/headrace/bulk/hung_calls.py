"""Drops the calls that hang in a policy after a bulk run was stopped."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from headrace.bulk.executor import Executor

_STOP_TIMEOUT = 30.0
"""Seconds after a stop in which policies must finish the calls in flight."""

_CHECK_INTERVAL = 1.0
"""Seconds between later checks of the calls in flight."""


async def drop_hung_calls(
    executor: Executor, stopping: anyio.Event, calls: anyio.CancelScope, notify: Callable[[str], None]
) -> None:
    """After a stop, cancel ``calls`` if they hang in a policy and no attempt is on the wire."""
    unfinished = getattr(executor, "unfinished", None)
    if unfinished is None:
        return
    await stopping.wait()
    await anyio.sleep(_STOP_TIMEOUT)
    notified = False
    while True:
        left = await unfinished()
        if not left.endpoints:
            holders = ", ".join(f"policy {name!r}" for name in left.policies) or "something"
            notify(
                f"Dropping the calls in flight: {_STOP_TIMEOUT:g} s after the stop, {holders} still holds "
                "them. Their items are left unsent."
            )
            calls.cancel()
            return
        if not notified:
            notified = True
            notify(
                f"Still waiting for answers from {', '.join(left.endpoints)}, at most for the timeout of the "
                "calls. Ctrl-C again drops them."
            )
        await anyio.sleep(_CHECK_INTERVAL)
