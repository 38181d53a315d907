"""The availability of Redis: when it is tried again, and how many processes share the limits without it."""

from __future__ import annotations

import logging
import math

import attrs

from headrace import SettingsError
from headrace_redis.server import MEMBER_TTL, RedisServer, is_rejected_login

_log = logging.getLogger("headrace.redis")

RETRY_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds until Redis is tried again, by failures in a row; the last one repeats."""


@attrs.define(eq=False)
class RedisAvailability:
    """Redis as one client sees it; logs when it becomes unavailable and when it is back.

    Attributes:
        processes: How many processes share the limits; None: as many as there were recently.
        away: Whether Redis is unavailable.
        pending_event: The state that observers are to be notified of, ``away`` or ``back``.
        retry_at: When Redis is tried again, on the event loop's clock.
    """

    server: RedisServer
    processes: int | None
    away: bool = False
    pending_event: str | None = None
    retry_at: float = 0.0
    _members: int = 1
    _counted_at: float = -math.inf
    _failures: int = 0

    def reset(self) -> None:
        """Start again, maybe on the clock of another event loop."""
        self.away, self.pending_event, self.retry_at = False, None, 0.0
        self._members, self._counted_at, self._failures = 1, -math.inf, 0

    @property
    def sharers(self) -> int:
        """How many processes share the limits."""
        return self.processes or self._members

    def record_success(self, members: int, now: float) -> bool:
        """Note that an exchange succeeded and counted ``members``; return whether Redis was unavailable."""
        # A restarted server counts members from zero, so its first counts are too low.
        if members >= self._members or now >= self._counted_at + MEMBER_TTL:
            self._members, self._counted_at = max(1, members), now
        self._failures = 0
        if not self.away:
            return False
        self.away, self.pending_event = False, "back"
        _log.info("Redis at %s is back; limits are shared again", self.server)
        return True

    def startup_error(self, error: BaseException) -> SettingsError | None:
        """Return the error if Redis cannot be used at the start; None if this process may continue alone."""
        description = self._describe(error)
        if is_rejected_login(error):
            return SettingsError(
                f"redis: the server at {self.server} rejects the login ({description}); check the user and "
                "password in HEADRACE_REDIS_URL"
            )
        if self.processes is None:
            return SettingsError(
                f"redis: the server at {self.server} cannot be used ({description}); start it, or set "
                "[redis] processes to the number of processes that share the limits, to continue without it"
            )
        return None

    def _describe(self, error: BaseException) -> str:
        """Return the type and message of an error, without the password."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # coredis runs its connection in a task group
        return self.server.redact(f"{type(error).__name__}: {error}")

    def record_failure(self, error: BaseException, now: float) -> bool:
        """Note that an exchange failed; return whether Redis was available until now."""
        self.retry_at = now + RETRY_DELAYS[min(self._failures, len(RETRY_DELAYS) - 1)]
        self._failures += 1
        if self.away:
            return False
        self.away, self.pending_event = True, "away"
        share = f"1/{self.sharers}" if self.sharers > 1 else "the whole"
        _log.warning(
            "Redis at %s is unavailable (%s); until it is back, this process continues alone, with %s of the "
            "limits",
            self.server,
            self._describe(error),
            share,
        )
        return True
