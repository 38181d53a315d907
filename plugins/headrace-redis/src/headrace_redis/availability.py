"""Whether Redis is there, when it is tried again, and among how many the limits are shared without it."""

from __future__ import annotations

import logging
import math

import attrs

from headrace import SettingsError
from headrace_redis.server import REMEMBERED, Server, is_refused_login

_log = logging.getLogger("headrace.redis")

RETRIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds until Redis is tried again, after so many failures in a row; the last one for ever."""


@attrs.define(eq=False)
class Reach:
    """Redis as one client has it; logs when it is away and back.

    ``processes``: how many share, None: as many as there were of late. ``untold``: what
    observers are still to be told, ``away`` or ``back``. ``retry_at`` is on the loop's clock.
    """

    server: Server
    processes: int | None
    away: bool = False
    untold: str | None = None
    retry_at: float = 0.0
    _members: int = 1
    _counted_at: float = -math.inf
    _failures: int = 0

    def forget(self) -> None:
        """Begin anew, maybe on the clock of another event loop."""
        self.away, self.untold, self.retry_at = False, None, 0.0
        self._members, self._counted_at, self._failures = 1, -math.inf, 0

    @property
    def sharers(self) -> int:
        """How many share what is limited."""
        return self.processes or self._members

    def found(self, members: int, now: float) -> bool:
        """An exchange has succeeded, and said how many there are; whether Redis was away until now."""
        # A server that was started again counts anew, and has heard of few at first.
        if members >= self._members or now >= self._counted_at + REMEMBERED:
            self._members, self._counted_at = max(1, members), now
        self._failures = 0
        if not self.away:
            return False
        self.away, self.untold = False, "back"
        _log.info("Redis at %s is back; limits are shared again", self.server)
        return True

    def unusable(self, error: BaseException) -> SettingsError | None:
        """What to raise where Redis cannot be used at the start; None where this process may go on alone."""
        said = self._said(error)
        if is_refused_login(error):
            return SettingsError(
                f"redis: the server at {self.server} refuses the login ({said}); check the user and password "
                "in HEADRACE_REDIS_URL"
            )
        if self.processes is None:
            return SettingsError(
                f"redis: the server at {self.server} cannot be used ({said}); start it, or set [redis] "
                "processes to how many share the limits, to go on without it"
            )
        return None

    def _said(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # coredis has its connection in a task group
        return self.server.blotted(f"{type(error).__name__}: {error}")

    def lost(self, error: BaseException, now: float) -> bool:
        """An exchange has failed; whether Redis was there until now."""
        self.retry_at = now + RETRIES[min(self._failures, len(RETRIES) - 1)]
        self._failures += 1
        if self.away:
            return False
        self.away, self.untold = True, "away"
        said = self._said(error)
        share = f"1/{self.sharers}" if self.sharers > 1 else "the whole"
        _log.warning(
            "Redis at %s is away (%s); until it is back this process goes on by itself, with %s of the "
            "limits",
            self.server,
            said,
            share,
        )
        return True
