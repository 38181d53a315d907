"""Several requests for one call, of which the first that is answered wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import attrs

from headrace import Call, CallError, Reply, Send
from headrace.plugins import task_group


class Race:
    """Sends a call, and again while no answer comes; ``won_by`` is who brought the reply.

    The first request is the call itself. Each further one is a `Call` of its own, because policies further in
    write to theirs: it begins as the call was at the beginning, with notes of its own. What of it is the
    call's is put there when all is over.
    """

    def __init__(self, send: Send, call: Call) -> None:
        self._send = send
        self._call = call
        self._beginning: dict[str, Any] = {
            "request": call.request,
            "content": call.content,
            "endpoint": call.endpoint,
            "attempts": 0,
        }
        self._notes = dict(call.notes)
        self._sent: list[Call] = []
        self._failures: dict[Call, CallError] = {}
        self._over = anyio.Event()
        self._reply: Reply | None = None
        self.won_by: Call | None = None

    async def run(self, after: float, most: int, may_send: Callable[[], bool]) -> Reply:
        """The reply that came first; raises the first request's error where none came.

        Every ``after`` seconds, up to ``most`` times, another request is sent if ``may_send`` allows it. Who
        fails while others are under way leaves it to them. Nothing is under way any more when this returns.
        """
        call = self._call
        try:
            async with task_group() as group:
                self._start(group, call)
                for _ in range(most):
                    with anyio.move_on_after(after):
                        await self._over.wait()
                    if self._over.is_set() or not may_send():
                        break
                    call.notify("hedge", state="sent", after=after)
                    self._start(group, self._another())
        finally:
            call.attempts += sum(other.attempts for other in self._sent[1:])
        if self._reply is None or self.won_by is None:
            raise self._failures.pop(call)
        if self.won_by is not call:
            self._take_over(self.won_by)
        return self._reply

    def _start(self, group: anyio.abc.TaskGroup, one: Call) -> None:
        self._sent.append(one)
        group.start_soon(self._make, group, one)

    async def _make(self, group: anyio.abc.TaskGroup, one: Call) -> None:
        try:
            reply = await self._send(one)
        except CallError as error:
            self._failures[one] = error
            if len(self._failures) == len(self._sent):
                self._over.set()
            return
        if self.won_by is None:
            self.won_by, self._reply = one, reply
            self._over.set()
            group.cancel_scope.cancel()

    def _another(self) -> Call:
        """A call like this one, for another endpoint where there is one that was not tried."""
        call = self._call
        tried = {one.endpoint for one in self._sent}
        untried = tuple([endpoint for endpoint in call.endpoints if endpoint not in tried])
        elsewhere = {"endpoint": untried[0], "endpoints": untried} if untried else {}
        return attrs.evolve(call, **self._beginning | elsewhere, notes=dict(self._notes))

    def _take_over(self, other: Call) -> None:
        """What policies further out read of the call is that of the request whose reply they get."""
        call = self._call
        call.request, call.content = other.request, other.content
        call.endpoint, call.notes = other.endpoint, other.notes
