"""Checks whether the peer of an open connection still responds."""

from __future__ import annotations

import math

KEEP_IDLE = 60.0
"""Seconds to keep a connection without active streams."""

PING_AFTER = 20.0
"""Seconds of silence before a PING is sent."""

PING_TIMEOUT = 10.0
"""Seconds within which the peer must react to a PING."""


class Liveness:
    """When a connection last received data and was last used, and what is due. Times of the event loop."""

    __slots__ = ("_ping_deadline", "last_received", "last_used")

    def __init__(self, now: float) -> None:
        self.last_received: float = now
        self.last_used: float = now
        self._ping_deadline = math.inf

    def on_received(self, now: float) -> None:
        """Record that data has arrived."""
        self.last_received = now
        self._ping_deadline = math.inf

    def is_idle_too_long(self, now: float) -> bool:
        """Whether to close a connection without active streams."""
        return now >= self.last_used + KEEP_IDLE

    def is_ping_overdue(self, now: float) -> bool:
        """Whether the peer has not reacted to a PING in time."""
        return now >= self._ping_deadline

    def should_ping(self, now: float) -> bool:
        """Whether to send a PING now. If so, its timeout starts."""
        if now < self.last_received + PING_AFTER or self._ping_deadline < math.inf:
            return False
        # The timeout starts now and not at the last reception: a blocked loop has not sent the PING yet.
        self._ping_deadline = now + PING_TIMEOUT
        return True

    def next_check(self, *, busy: bool) -> float:
        """When the next check is due."""
        ping_at = self.last_received + PING_AFTER if self._ping_deadline == math.inf else math.inf
        silent = min(self._ping_deadline, ping_at)
        return silent if busy else min(silent, self.last_used + KEEP_IDLE)
