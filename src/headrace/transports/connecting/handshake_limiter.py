"""Limits how many TLS handshakes with one origin start at once, and in which order."""

from __future__ import annotations

from collections import deque

import anyio
import anyio.lowlevel

MAX_STARTS_PER_TURN = 8
"""Handshakes that start in one turn of the event loop.

Each takes 0.1 ms or more to start and as much to continue. A higher limit would delay responses and
unfinished handshakes in a burst.
"""

MAX_CONCURRENT = 512
"""Handshakes in progress. If a server spends 1 ms on each, none takes longer than a second."""


class _PendingHandshake:
    """A handshake that waits to start."""

    __slots__ = ("cancelled", "event", "is_leader", "started")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.started = self.cancelled = self.is_leader = False


class HandshakeLimiter:
    """Lets a few handshakes start in each turn of the event loop, first in, first out.

    One of the waiting handshakes is the leader: it admits the first ones, including itself, and appoints the
    leader of the next turn. Use it as ``async with limiter:`` around each handshake.
    """

    def __init__(
        self, starts_per_turn: int = MAX_STARTS_PER_TURN, max_concurrent: int = MAX_CONCURRENT
    ) -> None:
        self._starts_per_turn = starts_per_turn
        self._max_concurrent = max_concurrent
        self._pending: deque[_PendingHandshake] = deque()
        self._has_leader = False
        self._in_progress = 0

    async def __aenter__(self) -> None:
        handshake = _PendingHandshake()
        self._pending.append(handshake)
        try:
            if self._has_leader or self._in_progress >= self._max_concurrent:
                await handshake.event.wait()
            else:
                self._has_leader = handshake.is_leader = True
                await anyio.lowlevel.checkpoint()
        except BaseException:
            handshake.cancelled = True
            if handshake.started:
                self._finish_one()
            elif handshake.is_leader:
                self._appoint_leader()
            raise
        if handshake.is_leader and not handshake.started:
            self._admit()

    async def __aexit__(self, *_: object) -> None:
        self._finish_one()

    def _finish_one(self) -> None:
        self._in_progress -= 1
        if not self._has_leader:
            self._appoint_leader()

    def _admit(self) -> None:
        pending = self._pending
        room = min(self._starts_per_turn, self._max_concurrent - self._in_progress)
        while pending and room:
            handshake = pending.popleft()
            if not handshake.cancelled:
                handshake.started = True
                handshake.event.set()
                self._in_progress += 1
                room -= 1
        self._appoint_leader()

    def _appoint_leader(self) -> None:
        """Make the first waiting handshake the leader, unless the limit is reached."""
        pending = self._pending
        while pending and pending[0].cancelled:
            pending.popleft()
        self._has_leader = bool(pending) and self._in_progress < self._max_concurrent
        if self._has_leader:
            pending[0].is_leader = True
            pending[0].event.set()
