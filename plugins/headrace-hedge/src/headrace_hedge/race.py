"""Several requests for one call; the first one that is answered wins."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.abc

from headrace import Call, CallError, Reply, Send
from headrace.plugins import task_group
from headrace_hedge.decision import HedgeBudget
from headrace_hedge.stopwatch import Stopwatch


class Race:
    """Sends a call, and sends it again while no reply comes.

    The first request is the call itself. Each extra request is a separate `Call` with its own token and
    notes, because inner policies write to them. It starts from the initial state of the call. At the end, the
    call takes over the state of the winner.

    Attributes:
        winner: The request whose reply came first.
        extra_sent: Extra requests that got a token; another one may have waited without getting a token.
        stopwatch: The stopwatch of the first request.
    """

    def __init__(self, send: Send, call: Call) -> None:
        self._send = send
        self._call = call
        self._initial: dict[str, Any] = {
            "request": call.request,
            "content": call.content,
            "endpoint": call.endpoint,
            "attempts": 0,
        }
        self._notes = dict(call.notes)
        self.stopwatch: Stopwatch = Stopwatch(call)
        self._stopwatches = {call: self.stopwatch}
        self._failures: dict[Call, CallError] = {}
        self._reply: Reply | None = None
        self.winner: Call | None = None
        self.extra_sent: int = 0

    async def run(self, after: float, most: int, budget: HedgeBudget) -> Reply:
        """Return the reply that comes first.

        If a request fails, the others continue. No request is in flight any more when this returns.

        Args:
            after: Seconds that the latest request is on the wire before the next one is sent.
            most: Extra requests at most.
            budget: Must have a token for each extra request.

        Raises:
            CallError: All requests failed; this is the error of the first.
        """
        call = latest = self._call
        try:
            async with task_group() as group:
                group.start_soon(self._send_one, group, call)
                for _ in range(most):
                    await self._stopwatches[latest].wait_until_elapsed(after)
                    if not budget.try_withdraw():
                        break
                    latest = self._new_extra(after)
                    group.start_soon(self._send_one, group, latest)
        finally:
            extras = [extra for extra in self._stopwatches if extra is not call]
            call.attempts += sum(extra.attempts for extra in extras)
            for extra in extras:
                if not self._stopwatches[extra].started:
                    budget.refund()
        if self._reply is None or self.winner is None:
            raise self._failures.pop(call)
        if self.winner is not call:
            self._take_over(self.winner)
        return self._reply

    async def _send_one(self, group: anyio.abc.TaskGroup, request: Call) -> None:
        """Send one of the requests; end the race if it wins, or if it is the last one to fail."""
        try:
            reply = await self._send(request)
        except CallError as error:
            self._failures[request] = error
            if len(self._failures) == len(self._stopwatches):
                group.cancel_scope.cancel()  # no further request is sent
            self._stopwatches[request].mark_failed()
            return
        if self.winner is None:
            self.winner, self._reply = request, reply
            group.cancel_scope.cancel()

    def _new_extra(self, after: float) -> Call:
        """A copy of the call, for an untried endpoint if there is one."""
        call = self._call
        tried = {request.endpoint for request in self._stopwatches}
        untried = tuple([endpoint for endpoint in call.endpoints if endpoint not in tried])
        target = {"endpoint": untried[0], "endpoints": untried} if untried else {}
        extra = call.another(**self._initial | target, notes=dict(self._notes))
        self._stopwatches[extra] = Stopwatch(extra, lambda: self._on_sent(after))
        return extra

    def _on_sent(self, after: float) -> None:
        self.extra_sent += 1
        self._call.notify("hedge", state="sent", after=after)

    def _take_over(self, winner: Call) -> None:
        """Copy the winner's state to the call, because outer policies read it there."""
        call = self._call
        call.request, call.content = winner.request, winner.content
        call.endpoint, call.notes = winner.endpoint, winner.notes
