"""Whether to retry, and after how long; without I/O.

The backoff after attempt n is ``min(cap, base * factor ** (n - 1))`` seconds. Full jitter draws the wait
uniformly from 0 to the backoff (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015),
so calls that failed together do not retry together.

A delay that the endpoint asks for (``Retry-After``) replaces the backoff. With full jitter, a random part of
the backoff is added to it; the wait is never shorter than the endpoint asks.
"""

from __future__ import annotations

import random
from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class RetrySchedule:
    """How often and when to retry. Times are in seconds; see `headrace_retry.Retry`."""

    attempts: int
    base: float
    factor: float
    cap: float
    jitter: Literal["full", "none"]
    max_elapsed: float | None
    max_retry_after: float

    def delay(
        self,
        attempt: int,
        retry_after: float | None,
        elapsed: float,
        remaining: float | None,
        rng: random.Random,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None for no further attempt.

        Args:
            attempt: Attempts made so far.
            retry_after: Seconds that the endpoint asks to wait, None if it does not say.
            elapsed: Seconds since the call began.
            remaining: Seconds until the call's deadline, None without a deadline.
            rng: Source of the jitter.
        """
        if attempt >= self.attempts or (retry_after is not None and retry_after > self.max_retry_after):
            return None
        delay = self._backoff(attempt, rng)
        if retry_after is not None:
            delay = retry_after + (delay if self.jitter == "full" else 0.0)
        if remaining is not None and delay >= remaining:
            return None
        if self.max_elapsed is not None and elapsed + delay > self.max_elapsed:
            return None
        return delay

    def _backoff(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds of backoff after an attempt, with jitter."""
        try:
            ceiling = min(self.cap, self.base * self.factor ** (attempt - 1))
        except OverflowError:
            ceiling = self.cap
        return rng.uniform(0.0, ceiling) if self.jitter == "full" else ceiling
