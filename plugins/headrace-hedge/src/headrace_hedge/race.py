"""Several requests for one call, of which the first that is answered wins."""

from __future__ import annotations

from typing import Any, Protocol

import anyio
import anyio.abc

from headrace import Call, CallError, Reply, Send
from headrace.plugins import task_group
from headrace_hedge.stopwatch import Stopwatch


class MaySend(Protocol):
    """How many extra requests may be sent."""

    def take(self) -> bool:
        """Whether one may be sent; if so, it is counted."""

    def give_back(self) -> None:
        """One that was counted was not sent."""


class Race:
    """Sends a call, and again while no answer comes.

    The first request is the call itself. Each further one is a `Call` of its own, because policies further in
    write to theirs, and it holds a token of its own: it begins as the call was at the beginning, with notes
    of its own. What of it is the call's is put there when all is over.

    Attributes:
        won_by: The request that brought the reply.
        sent: How many extra requests had a token; another one may have waited for it in vain.
        watch: That of the first request.
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
        self.watch = Stopwatch(call)
        self._watches = {call: self.watch}
        self._failures: dict[Call, CallError] = {}
        self._reply: Reply | None = None
        self.won_by: Call | None = None
        self.sent = 0

    async def run(self, after: float, most: int, allowance: MaySend) -> Reply:
        """The reply that came first; raises the first request's error where none came.

        When the latest request has been on the wire for ``after`` seconds, another one is sent, up to
        ``most`` times, if ``allowance`` has one. Who fails while others are under way leaves it to them.
        Nothing is under way any more when this returns.
        """
        call = latest = self._call
        try:
            async with task_group() as group:
                group.start_soon(self._make, group, call)
                for _ in range(most):
                    await self._watches[latest].until_running_for(after)
                    if not allowance.take():
                        break
                    latest = self._another(after)
                    group.start_soon(self._make, group, latest)
        finally:
            others = [other for other in self._watches if other is not call]
            call.attempts += sum(other.attempts for other in others)
            for other in others:
                if not self._watches[other].began:
                    allowance.give_back()
        if self._reply is None or self.won_by is None:
            raise self._failures.pop(call)
        if self.won_by is not call:
            self._take_over(self.won_by)
        return self._reply

    async def _make(self, group: anyio.abc.TaskGroup, one: Call) -> None:
        try:
            reply = await self._send(one)
        except CallError as error:
            self._failures[one] = error
            if len(self._failures) == len(self._watches):
                group.cancel_scope.cancel()  # no further one is sent
            self._watches[one].fail()
            return
        if self.won_by is None:
            self.won_by, self._reply = one, reply
            group.cancel_scope.cancel()

    def _another(self, after: float) -> Call:
        """A call like this one, for another endpoint where there is one that was not tried."""
        call = self._call
        tried = {one.endpoint for one in self._watches}
        untried = tuple([endpoint for endpoint in call.endpoints if endpoint not in tried])
        elsewhere = {"endpoint": untried[0], "endpoints": untried} if untried else {}
        other = call.another(**self._beginning | elsewhere, notes=dict(self._notes))
        self._watches[other] = Stopwatch(other, lambda: self._is_sent(after))
        return other

    def _is_sent(self, after: float) -> None:
        self.sent += 1
        self._call.notify("hedge", state="sent", after=after)

    def _take_over(self, other: Call) -> None:
        """What policies further out read of the call is that of the request whose reply they get."""
        call = self._call
        call.request, call.content = other.request, other.content
        call.endpoint, call.notes = other.endpoint, other.notes
