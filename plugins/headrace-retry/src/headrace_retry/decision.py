"""Whether to try again, and after how long: a pure function of what happened.

The backoff before try n + 1 is ``min(cap, base * factor ** (n - 1))`` seconds, and with full jitter a
random part of it, evenly drawn from 0 to all of it (Marc Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015): callers that failed together do not come back together.

A delay asked for by the endpoint (``Retry-After``) takes the backoff's place; jitter is added to it and
never taken from it.
"""

from __future__ import annotations

import random
from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Schedule:
    """How often and how soon to try again; times are in seconds, see `headrace_retry.Retry`."""

    attempts: int
    base: float
    factor: float
    cap: float
    jitter: Literal["full", "none"]
    max_elapsed: float | None
    max_retry_after: float

    def delay(
        self, tried: int, asked: float | None, elapsed: float, remaining: float | None, rng: random.Random
    ) -> float | None:
        """Seconds to wait before the next try, None where there is to be none.

        ``tried``: how many tries were made; ``asked``: the wait asked for, None where none was;
        ``elapsed``: since the call began; ``remaining``: until its deadline, None where it has none.
        """
        if tried >= self.attempts or (asked is not None and asked > self.max_retry_after):
            return None
        delay = self._backoff(tried, rng)
        if asked is not None:
            delay = asked + (delay if self.jitter == "full" else 0.0)
        if remaining is not None and delay >= remaining:
            return None
        if self.max_elapsed is not None and elapsed + delay > self.max_elapsed:
            return None
        return delay

    def _backoff(self, tried: int, rng: random.Random) -> float:
        try:
            ceiling = min(self.cap, self.base * self.factor ** (tried - 1))
        except OverflowError:
            ceiling = self.cap
        return rng.uniform(0.0, ceiling) if self.jitter == "full" else ceiling
