"""Whether the other side of a connection that is kept is still there."""

from __future__ import annotations

import math

KEEP_IDLE = 60.0
"""Seconds for which a connection without exchanges is kept."""

PING_AFTER = 20.0
"""Seconds of silence after which the other side is asked whether it is there."""

PING_WITHIN = 10.0
"""Seconds in which it has to say so."""


class Liveness:
    """When a connection was heard and used last, and what follows from that. Times are the event loop's."""

    __slots__ = ("_reply_due", "heard", "used")

    def __init__(self, now: float) -> None:
        self.heard = self.used = now
        self._reply_due = math.inf

    def hear(self, now: float) -> None:
        """Something has come."""
        self.heard = now
        self._reply_due = math.inf

    def is_idle(self, now: float) -> bool:
        """Whether a connection that is not in use is to be closed."""
        return now >= self.used + KEEP_IDLE

    def is_lost(self, now: float) -> bool:
        """Whether the other side was asked, and has not replied in time."""
        return now >= self._reply_due

    def asks(self, now: float) -> bool:
        """Whether the other side is to be asked now; it has to reply in time then."""
        if now < self.heard + PING_AFTER or self._reply_due < math.inf:
            return False
        # From now on, not since it was last heard: a loop that was blocked has not asked yet.
        self._reply_due = now + PING_WITHIN
        return True

    def next_look(self, *, busy: bool) -> float:
        """When there may be something to do."""
        silent = min(self._reply_due, self.heard + PING_AFTER if self._reply_due == math.inf else math.inf)
        return silent if busy else min(silent, self.used + KEEP_IDLE)
