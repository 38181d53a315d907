"""Whether Redis is there, when it is tried again, and among how many the limits are shared without it."""

from __future__ import annotations

import logging

import attrs

from headrace_redis.server import Server

_log = logging.getLogger("headrace.redis")

RETRIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds until Redis is tried again, after so many failures in a row; the last one for ever."""


@attrs.define(eq=False)
class Reach:
    """Redis as one client has it; logs when it is away and back.

    ``processes``: how many share, None: as many as there were when it was last there. ``untold``: what
    observers are still to be told, ``away`` or ``back``. ``retry_at`` is on the loop's clock.
    """

    server: Server
    processes: int | None
    away: bool = False
    untold: str | None = None
    retry_at: float = 0.0
    _members: int = 1
    _failures: int = 0

    @property
    def sharers(self) -> int:
        """How many share what is limited."""
        return self.processes or self._members

    def found(self, members: int) -> bool:
        """An exchange has succeeded, and said how many there are; whether Redis was away until now."""
        self._members = max(1, members)
        self._failures = 0
        if not self.away:
            return False
        self.away, self.untold = False, "back"
        _log.info("Redis at %s is back; limits are shared again", self.server)
        return True

    def lost(self, error: BaseException, now: float) -> bool:
        """An exchange has failed; whether Redis was there until now."""
        self.retry_at = now + RETRIES[min(self._failures, len(RETRIES) - 1)]
        self._failures += 1
        if self.away:
            return False
        self.away, self.untold = True, "away"
        said = self.server.blotted(f"{type(error).__name__}: {error}")
        share = f"1/{self.sharers}" if self.sharers > 1 else "the whole"
        _log.warning(
            "Redis at %s is away (%s); until it is back this process goes on by itself, with %s of the "
            "limits",
            self.server,
            said,
            share,
        )
        return True
