"""Cancels single calls of a map.

A cancel scope for each call would slow all calls down. Each worker of a map has one, and makes many calls in
it. So before a scope is cancelled, no worker may begin another call, and only a worker is chosen that is
suspended in a chosen call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from types import CodeType
from typing import Any

import anyio
import attrs

from headrace._support.task_frames import frames_of
from headrace.calls import Outcome, Request
from headrace.errors import CallCancelled, HeadraceError

_LONGEST_WAIT = 1.0
"""Seconds to wait until cancelled calls have ended; a policy may shield its cleanup."""


@attrs.define(eq=False)
class CancelledCall:
    """A call that is being cancelled.

    Attributes:
        index: The place of its item in the map.
        item: The item.
        call: The call; None before it was made.
        ended: Set when its worker has left the call.
        may_continue: Set when its worker may make other calls.
    """

    index: int
    item: Any
    call: Any
    ended: anyio.Event = attrs.field(factory=anyio.Event)
    may_continue: anyio.Event = attrs.field(factory=anyio.Event)

    def outcome(self) -> Outcome[Any]:
        """Its outcome, with a `CallCancelled`."""
        request: Request | None = None
        with suppress(HeadraceError):  # raised by an item without a request
            request = getattr(self.item, "request", None)
        error = CallCancelled("cancelled while it was in flight")
        attempts, elapsed = 0, 0.0
        if self.call is not None:
            attempts, elapsed = self.call.attempts, self.call.now() - self.call.started
            error.request, error.attempts = self.call.request, attempts
        return Outcome(self.index, request, None, error, attempts, elapsed, self.item)


def running_calls(
    stream: object, worker: CodeType, work: CodeType
) -> Iterator[tuple[anyio.CancelScope, CancelledCall]]:
    """The calls of a map that are suspended now, each with the scope of its worker.

    Args:
        stream: The map.
        worker: The code of its workers, with the local variables ``self`` and ``scope``.
        work: The code that makes a call, with ``index`` and ``item``.
    """
    for task in anyio.get_running_tasks():
        scope = None
        for frame in frames_of(task.coro):
            if frame.f_code is worker and frame.f_locals.get("self") is stream:
                scope = frame.f_locals.get("scope")
            elif frame.f_code is work and scope is not None:
                found = frame.f_locals
                yield scope, CancelledCall(found["index"], found["item"], found.get("call"))
                break


async def wait_until_ended(calls: Collection[CancelledCall]) -> None:
    """Wait until the workers of cancelled calls have left them."""
    with anyio.move_on_after(_LONGEST_WAIT):
        for call in calls:
            await call.ended.wait()
