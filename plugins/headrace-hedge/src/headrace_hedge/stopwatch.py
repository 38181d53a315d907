"""For how long a request has been on the wire: without the time in which it waits."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from headrace import Call, Reply, Send

NOTE = "hedge.stopwatch"
"""What the stopwatch of a request is called in the notes of its call."""


class Stopwatch:
    """Runs while an attempt of a request has its token and waits for nothing but its answer.

    It begins anew with each attempt, and with each end of a wait.

    Args:
        call: The request; its notes get the stopwatch.
        first: Called when it runs for the first time.

    Attributes:
        began: When it began last, on the call's clock; 0.0 before.
    """

    def __init__(self, call: Call, first: Callable[[], None] | None = None) -> None:
        self._call = call
        self._first = first
        self._runs = False
        self._has_failed = False
        self._news = anyio.Event()
        self.began = 0.0
        call.notes[NOTE] = self

    async def attempt(self, send: Send) -> Reply:
        """Make an attempt, and run meanwhile."""
        call = self._call
        others = call.on_resume
        call.on_resume = (*others, self._begin)
        self._begin(call)
        try:
            return await send(call)
        finally:
            self._runs = False
            call.on_resume = others

    def _begin(self, call: Call) -> None:
        if not self.began and self._first is not None:
            self._first()
        self.began = call.now()
        self._runs = True
        self._news.set()

    def fail(self) -> None:
        """The request has failed: nothing will begin any more, and time goes on from where it began last."""
        self._has_failed = True
        self._news.set()

    def put_away(self) -> None:
        """All is over: take it out of the notes."""
        self._call.notes.pop(NOTE, None)

    async def until_running_for(self, seconds: float) -> None:
        """Wait until it has run for so long."""
        call = self._call
        while True:
            if self._has_failed or (self._runs and not call.is_waiting):
                left = self.began + seconds - call.now()
                if left <= 0:
                    return
                await anyio.sleep(left)
            else:
                self._news = anyio.Event()
                await self._news.wait()
