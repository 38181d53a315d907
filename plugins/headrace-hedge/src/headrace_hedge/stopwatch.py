"""How long a request has been on the wire, without the time in which it waits."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from headrace import Call, Reply, Send

NOTE_KEY = "hedge.stopwatch"
"""The key of a request's stopwatch in the notes of its call."""


class Stopwatch:
    """Runs while an attempt of a request has its token and waits only for the reply.

    It starts again with each attempt, and at the end of each wait.

    Args:
        call: The request; its notes get the stopwatch.
        on_first_start: Called when the stopwatch starts for the first time.

    Attributes:
        started: When it started last, on the call's clock; 0.0 before the first start.
    """

    def __init__(self, call: Call, on_first_start: Callable[[], None] | None = None) -> None:
        self._call = call
        self._on_first_start = on_first_start
        self._running = False
        self._failed = False
        self._changed = anyio.Event()
        self.started: float = 0.0
        call.notes[NOTE_KEY] = self

    async def time_attempt(self, send: Send) -> Reply:
        """Make an attempt; the stopwatch runs while it is made."""
        call = self._call
        others = call.on_resume
        call.on_resume = (*others, self._start)
        self._start(call)
        try:
            return await send(call)
        finally:
            self._running = False
            call.on_resume = others

    def _start(self, call: Call) -> None:
        if not self.started and self._on_first_start is not None:
            self._on_first_start()
        self.started = call.now()
        self._running = True
        self._changed.set()

    def mark_failed(self) -> None:
        """The request has failed and starts no more attempts: keep counting from the last start."""
        self._failed = True
        self._changed.set()

    def remove(self) -> None:
        """Remove the stopwatch from the call's notes."""
        self._call.notes.pop(NOTE_KEY, None)

    async def wait_until_elapsed(self, seconds: float) -> None:
        """Wait until the stopwatch has run for ``seconds`` since its last start."""
        call = self._call
        while True:
            if self._failed or (self._running and not call.is_waiting):
                left = self.started + seconds - call.now()
                if left <= 0:
                    return
                await anyio.sleep(left)
            else:
                self._changed = anyio.Event()
                await self._changed.wait()
